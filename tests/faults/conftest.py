"""What the fault tests share: a real trainer in processes of its own (tiny MNIST), and a small one in this process."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from orbax.checkpoint import v1 as ocp

from nwt_jax import build
from nwt_jax.configs import common
from nwt_jax.train import loop
from nwt_jax.train.runtime.health import skipped_updates
from tests import digits
from tests.conftest import IMPORTED, PROGRAM_ENVIRONMENT, ROOT, TEST_ENVIRONMENT

STEPS, SAVE = 240, 40
LONG = 100_000  # steps of a run that something else ends


def steps_of(workdir: Path) -> list[int]:
  """The steps that are committed and have digests, in order."""
  return sorted(int(p.stem) for p in (workdir / "checkpoints" / "digests").glob("*.json"))


def fingerprint(workdir: Path) -> str:
  """Hash of every array of the newest checkpoint: parameters, optimisers, counters."""
  step, here = steps_of(workdir)[-1], jax.sharding.SingleDeviceSharding(jax.devices()[0])
  with ocp.training.Checkpointer(workdir / "checkpoints") as checkpointer:
    stored = checkpointer.checkpointables_metadata(step).metadata["state"]
    wanted = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), stored)
    state = checkpointer.load_checkpointables(step, {"state": wanted})["state"]
  digest = hashlib.sha256()
  for path, leaf in sorted(jax.tree_util.tree_leaves_with_path(state), key=lambda pair: str(pair[0])):
    digest.update(str(path).encode() + np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()


def record(name: str, **found) -> None:
  """Writes what a proof found into the folder that NWT_PROOFS names, for those who run `make proof-...`."""
  if folder := os.environ.get("NWT_PROOFS"):
    facts = {"jax": jax.__version__, "cores": os.cpu_count(), **found}
    Path(folder, f"proof_{name}.json").write_text(json.dumps(facts, indent=1) + "\n")


class Trainer:
  """A running `python -m nwt_jax.main` (or a script that ends in it)."""

  def __init__(self, command: list[str], env: dict[str, str], log: Path):
    self.log = log
    with open(log, "w") as file:
      self.process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
      )

  def text(self) -> str:
    return self.log.read_text()

  def wait_for(self, words: str, seconds: float = 200) -> None:
    """Returns once the program has printed `words`."""
    deadline = time.monotonic() + seconds
    while words not in self.text():
      assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.text()[-3000:]}"
      assert time.monotonic() < deadline, f"no {words!r} within {seconds} s:\n{self.text()[-3000:]}"
      time.sleep(0.02)

  def kill(self, number: int = signal.SIGKILL) -> None:
    self.process.send_signal(number)

  def end(self, seconds: float = 240) -> int:
    """The exit code; a program that does not end by itself fails the test."""
    try:
      return self.process.wait(seconds)
    except subprocess.TimeoutExpired:
      os.killpg(self.process.pid, signal.SIGKILL)
      raise AssertionError(f"still running after {seconds} s:\n{self.text()[-3000:]}") from None


@pytest.fixture(scope="session")
def mnist(tmp_path_factory):
  return digits.folder(tmp_path_factory.mktemp("digits"), 200, 20)


@pytest.fixture
def trainer(mnist, tmp_path):
  """Returns `trainer(workdir, *overrides, steps=..., script=..., rank=(index, count, port), **environment)`."""
  started = []

  def start(workdir, *overrides, steps=STEPS, script=None, rank=None, **environment) -> Trainer:
    env = {k: v for k, v in os.environ.items() if k not in (*TEST_ENVIRONMENT, *IMPORTED)}
    env |= PROGRAM_ENVIRONMENT | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"} | environment
    env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    if rank:
      index, count, port = rank
      env |= {"JAX_PROCESS_ID": str(index), "JAX_NUM_PROCESSES": str(count)}
      env["JAX_COORDINATOR_ADDRESS"] = f"127.0.0.1:{port}"
    program = ["-c", script] if script else ["-m", "nwt_jax.main"]
    options = {"data.path": mnist, "data.batch_size": 8, "train.steps": steps, "train.save_every": SAVE}
    options |= {"train.log_every": 10, "train.eval_every": 10_000}
    command = [sys.executable, *program, "--config=configs/dvae_mnist.py:tiny", f"--workdir={workdir}"]
    command += [f"--config.{name}={value}" for name, value in options.items()] + list(overrides)
    started.append(Trainer(command, env, tmp_path / f"log{len(started)}.txt"))
    return started[-1]

  yield start
  for each in started:
    if each.process.poll() is None:
      os.killpg(each.process.pid, signal.SIGKILL)
      each.process.wait()


def finished(*runs: Trainer) -> None:
  """Waits for trainers that must end well."""
  for run in runs:
    assert run.end() == 0, run.text()[-3000:]


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
  """Where the uninterrupted run is to go; the first test that needs it makes it."""
  return tmp_path_factory.mktemp("whole") / "run"


@pytest.fixture
def truth(whole, trainer):
  """Fingerprint of the uninterrupted run, one process, one device."""
  if not whole.exists():
    finished(trainer(whole))
  return fingerprint(whole)


def rows(workdir: Path) -> list[dict]:
  """What a run logged."""
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def free_port() -> int:
  with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    return found.getsockname()[1]


# A small problem with everything the loop asks of a stage, in this process


@struct.dataclass
class Line:
  step: jax.Array
  weights: dict
  opt: object

  def for_release(self):
    return self.replace(opt=None)


def line_config(steps: int = 12, **train):
  """A config that `loop.train` takes."""
  config = common.train(steps)
  config.update({"log_every": 1, "eval_every": 1_000, "save_every": 4, **train})
  from ml_collections import ConfigDict

  fields = {"family": "dvae", "model": {"width": 8}, "objective": {"reconstruction": "pixels"}}
  whole = ConfigDict({**fields, "data": {"batch_size": 8}, "eval": {"clips": 1}})
  whole.optim, whole.train = common.adam(1e-1), config
  return whole


def line_stage(
  config, *, bad=(), data="one", export=lambda *_: None, before=lambda step: None, grow=None
) -> loop.Stage:
  """Least squares by Adam; batch n is a function of n.

  Args: bad: numbers of the batches that hold a NaN. before: called with a batch's number before it is read. grow: from
    this batch on targets are huge."""
  tx = build.optimiser(config.optim)

  def step(state, batch):
    def loss(weights):
      return jnp.mean((batch["x"] @ weights["w"] - batch["y"]) ** 2)

    value, slope = jax.value_and_grad(loss)(state.weights)
    updates, opt = tx.update(slope, state.opt, state.weights)
    weights = jax.tree.map(jnp.add, state.weights, updates)
    norm = jnp.sqrt(jnp.sum(slope["w"] ** 2))
    return Line(state.step + 1, weights, opt), {"loss/fit": value, "grad_norm/line": norm, **skipped_updates(opt)}

  def batches(first):
    number = first
    while True:
      before(number)
      draw = np.random.default_rng(number)
      x = draw.normal(size=(8, config.model.width)).astype(np.float32)
      y = x.sum(axis=1) * (1e9 if grow is not None and number >= grow else 1.0)
      if number in bad:
        x[3, 2] = np.nan
      yield {"x": x, "y": y.astype(np.float32)}
      number += 1

  weights = {"w": jnp.zeros(config.model.width)}
  state = Line(jnp.zeros((), jnp.int32), weights, tx.init(weights))
  return loop.Stage(state, step, batches, lambda *_: {"score": 1.0}, export, ("loss/fit",), lambda _: None, data)


def run_line(workdir, config=None, **options):
  """Trains the line. Returns: its last state."""
  config = config or line_config()
  return loop.train(config, Path(workdir), lambda config: line_stage(config, **options))[0]
