"""Weak scaling on one machine: one process with one core, against two with a core each and twice the batch.

  python -m benchmarks.processes --data=DIR --output=benchmarks/results/processes.json --rounds=3 --steps=40

DIR holds MNIST's four idx files; the model is configs/dvae_mnist.py:loss=adv at its size. Rounds alternate between one
and two processes; each gives the rate of its second half. Efficiency is the ratio of the rates in pictures a second,
halved. What two cores share (memory, cache, clock) costs too, so "two apart", two runs that know nothing of each other,
are beside it.
"""

import datetime
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from absl import flags

from nwt_jax import cli
from nwt_jax.errors import InputError

KINDS = ("one", "two", "two apart")

_DATA = flags.DEFINE_string("data", None, "Folder with MNIST's four idx files.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")
_BATCHES = flags.DEFINE_list("batches", ["64", "512"], "Pictures a process.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "How often each is measured.", lower_bound=2)
_STEPS = flags.DEFINE_integer("steps", 200, "Updates a run; the second half is timed.", lower_bound=20)


def start(core: int, workdir: str, batch: int, rank: tuple[int, int, int] | None) -> subprocess.Popen:
  """One pinned process. Args: rank: index, count and port, where it is not alone."""
  env = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
  }
  if rank:
    index, count, port = rank
    env |= {
      "JAX_PROCESS_ID": str(index),
      "JAX_NUM_PROCESSES": str(count),
      "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
    }
  options = {"data.path": _DATA.value, "data.batch_size": batch, "train.steps": _STEPS.value, "train.eval_every": 10**6}
  options |= {"train.log_every": _STEPS.value // 2, "train.save_every": 10**6}
  command = [
    "taskset",
    "-c",
    str(core),
    sys.executable,
    "-m",
    "nwt_jax.main",
    "--config=configs/dvae_mnist.py:loss=adv",
  ]
  command += [f"--workdir={workdir}", *(f"--config.{name}={value}" for name, value in options.items())]
  return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def rate(workdir: str) -> float:
  """Updates a second in the second half of a run."""
  rows = [json.loads(line) for line in (Path(workdir) / "metrics.jsonl").read_text().splitlines()]
  last = next(row for row in rows if row["step"] == _STEPS.value and "time/compute" in row)
  return 1.0 / (last["time/compute"] + last["time/data"])


def measure(kind: str, share: int) -> float:
  """Pictures a second of all processes: "one", "two" (together) or "two apart"."""
  with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    if kind == "two":
      runs = [start(core, folder, 2 * share, (core, 2, port)) for core in range(2)]
    else:
      runs = [start(core, f"{folder}/{core}", share, None) for core in range(1 if kind == "one" else 2)]
    for run in runs:
      _, error = run.communicate()
      if run.returncode:
        raise InputError(f"a run ended with {run.returncode}: {error.strip().splitlines()[-1:]}")
    if kind == "two":
      return 2 * share * rate(folder)
    return sum(share * rate(f"{folder}/{core}") for core in range(len(runs)))


def main(_) -> None:
  if (os.cpu_count() or 1) < 2:
    raise InputError("one core, wanted two: run this on a machine with more")
  measured = {}
  for share in map(int, _BATCHES.value):
    rates = {kind: [] for kind in KINDS}
    for number in range(_ROUNDS.value):
      for kind in KINDS if number % 2 else reversed(KINDS):
        rates[kind].append(measure(kind, share))
        print(f"{share} a process, round {number + 1}: {kind} {rates[kind][-1]:.0f} pictures/s", flush=True)
    ratios = {kind: [b / a / 2 for a, b in zip(rates["one"], rates[kind], strict=True)] for kind in KINDS[1:]}
    measured[f"{share} pictures a process"] = {
      "pictures_per_second": {kind: spread(values) for kind, values in rates.items()},
      "efficiency": spread(ratios["two"]),
      "efficiency_apart": spread(ratios["two apart"]),
    }
  machine = {"date": datetime.date.today().isoformat(), "machine": f"{os.cpu_count()} cores, {platform.machine()}"}
  path = Path(_OUTPUT.value)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(machine | measured, indent=1) + "\n")
  for name, found in measured.items():
    both = [f"{found[key]['mean']:.2f} +- {found[key]['std']:.2f}" for key in ("efficiency", "efficiency_apart")]
    print(f"{name}: efficiency {both[0]}, two apart {both[1]}")


def spread(values: list[float]) -> dict:
  return {"mean": statistics.mean(values), "std": statistics.stdev(values), "rounds": values}


if __name__ == "__main__":
  cli.run(main, "data", "output")
