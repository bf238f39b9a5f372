"""Faults of one process: signals and kills; real trainers on tiny MNIST (faults 1, 7 to 10, 27, 28, 72)."""

import os
import re
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.faults.conftest import LONG, SAVE, STEPS, fingerprint, finished, record, rows, steps_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


KILLS = int(os.environ.get("NWT_KILLS", 4))  # `make proof-kills` asks for 20


SOAK = int(os.environ.get("NWT_SOAK", 480))  # updates; `make proof-soak` asks for 1,200


def test_fault_01_the_same_config_twice_gives_the_same_parameters(trainer, truth, tmp_path):
  finished(trainer(tmp_path / "run"))
  assert fingerprint(tmp_path / "run") == truth
  finished(trainer(tmp_path / "other", "--config.train.seed=1"))
  assert fingerprint(tmp_path / "other") != truth


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_fault_07_a_signal_saves_and_the_same_command_goes_on(trainer, truth, tmp_path, number):
  run = trainer(tmp_path / "run", "--config.train.save_every=100000", steps=LONG)
  run.wait_for("step 20/")
  run.kill(number)
  assert run.end(120) == 143, run.text()
  stopped = steps_of(tmp_path / "run")
  assert len(stopped) == 1 and f"stopped by a signal at step {stopped[0]}, which is saved" in run.text()
  assert not re.findall(r"^[IWEF]\d{4} .*", run.text(), re.MULTILINE)  # what XLA and Orbax log
  assert stopped[0] < STEPS
  finished(trainer(tmp_path / "run"))
  assert fingerprint(tmp_path / "run") == truth


def test_fault_07_a_second_interrupt_ends_at_once_and_damages_nothing(trainer, truth, tmp_path):
  run = trainer(tmp_path / "run")
  run.wait_for(f"step {SAVE + 10}/")
  run.kill(signal.SIGINT)
  run.wait_for("Ctrl-C: saving", 20)
  began = time.monotonic()
  run.kill(signal.SIGINT)
  assert run.end(30) in (130, 143) and time.monotonic() - began < 10  # 143: it was faster
  finished(trainer(tmp_path / "run"))
  assert fingerprint(tmp_path / "run") == truth


SLOW_EVALUATION = """
import runpy, time
from nwt_jax.train.stages import mnist
make = mnist.make_stage
def slow(config, *args):
  import dataclasses
  stage = make(config, *args)
  def evaluate(*a):
    print("evaluating", flush=True)
    time.sleep(3)
    return stage.evaluate(*a)
  return dataclasses.replace(stage, evaluate=evaluate)
mnist.make_stage = slow
runpy.run_module("nwt_jax.main", run_name="__main__")
"""


@pytest.mark.parametrize("moment", ["compiling", "evaluating", "saving", "the last step"])
def test_fault_08_a_signal_at_an_awkward_moment(trainer, truth, tmp_path, moment):
  words = {"compiling": "compiling the first step", "saving": "step 40/", "the last step": f"step {STEPS}/{STEPS}"}
  script = SLOW_EVALUATION if moment == "evaluating" else None
  rhythm = ["--config.train.eval_every=20"] if moment == "evaluating" else []
  run = trainer(tmp_path / "run", *rhythm, script=script)
  run.wait_for(words.get(moment, "evaluating"))
  run.kill(signal.SIGTERM)
  code = run.end()
  assert code in (0, 143) and (code == 0) == (steps_of(tmp_path / "run")[-1] == STEPS), run.text()
  finished(trainer(tmp_path / "run"))
  assert fingerprint(tmp_path / "run") == truth


@pytest.mark.timeout(max(900, 120 * KILLS))
def test_fault_09_kill_while_training(trainer, truth, tmp_path):
  """KILLS runs are killed at random moments, from before the first step to the last; each goes on to the same end."""
  draw, seen = np.random.default_rng(int(os.environ.get("NWT_SEED", 0))), []
  for number in range(KILLS):
    workdir = tmp_path / f"run{number}"
    run = trainer(workdir, "--config.train.save_every=10")
    moment = int(draw.integers(-1, STEPS // 10)) * 10
    run.wait_for(f"step {moment}/" if moment > 0 else "first step done" if moment == 0 else "training digits")
    time.sleep(draw.uniform(0, 0.2))
    run.kill()
    code, before = run.end(), steps_of(workdir)
    again = trainer(workdir, "--config.train.save_every=10")
    finished(again)
    resumed = re.search(r"resuming .* at step (\d+)", again.text())
    same = fingerprint(workdir) == truth
    seen.append((moment, code, before[-1] if before else 0, int(resumed[1]) if resumed else 0, same))
  print("seen step, exit code, last whole step when killed, resumed at, same end:", *seen, sep="\n")
  names = ("step seen", "exit code", "last whole step", "resumed at", "same end")
  record("kills", kills=[dict(zip(names, each, strict=True)) for each in seen])
  assert all(same for *_, same in seen)
  assert all(resumed == before or before == STEPS for _, _, before, resumed, _ in seen)
  assert KILLS < 4 or len({before for _, _, before, _, _ in seen}) > 2  # not all at the same moment


KILLED_WHILE_COMMITTING = """
import os, runpy, signal, sys
from nwt_jax.io import checkpoints
write = checkpoints._write_digests
def die(directory, step):
  if step == {step}:
    os.kill(os.getpid(), signal.SIGKILL)
  write(directory, step)
checkpoints._write_digests = die
runpy.run_module("nwt_jax.main", run_name="__main__")
"""


KILLED_WHILE_WRITING = """
import os, pathlib, runpy, signal, sys
def watch(event, args):
  # Orbax marks a step as whole once all is written: not before, not here.
  if event == "open" and "commit_success" in str(args[0]) and "/{step}" in str(args[0]):
    os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
runpy.run_module("nwt_jax.main", run_name="__main__")
"""


@pytest.mark.parametrize("script", [KILLED_WHILE_WRITING, KILLED_WHILE_COMMITTING], ids=["writing", "committing"])
def test_fault_10_kill_before_a_step_is_committed(trainer, truth, tmp_path, script):
  run = trainer(tmp_path / "run", script=script.format(step=2 * SAVE))
  assert run.end() == -signal.SIGKILL, run.text()
  assert (tmp_path / "run" / "checkpoints").exists() and steps_of(tmp_path / "run") == [SAVE]
  again = trainer(tmp_path / "run")
  finished(again)
  assert f"at step {SAVE}" in again.text() and fingerprint(tmp_path / "run") == truth


def test_fault_27_without_the_preemption_service_it_warns_and_runs(trainer, truth, tmp_path):
  run = trainer(tmp_path / "run", JAX_ENABLE_PREEMPTION_SERVICE="false")
  finished(run)
  assert "preemption service is off" in run.text() and fingerprint(tmp_path / "run") == truth
  run = trainer(tmp_path / "other", steps=LONG, JAX_ENABLE_PREEMPTION_SERVICE="false")
  run.wait_for("step 20/")
  run.kill(signal.SIGINT)  # no promise of saving
  assert run.end(60) == 130 and "Ctrl-C: saving" not in run.text()


LITTLE_MEMORY = """
import resource, runpy
import nwt_jax.train.loop as loop
train = loop._train
def limited(*args):
  used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
  resource.setrlimit(resource.RLIMIT_AS, (used + {room}, used + {room}))
  return train(*args)
loop._train = limited
runpy.run_module("nwt_jax.main", run_name="__main__")
"""


def test_fault_28_too_little_memory_is_a_readable_error(trainer, mnist, tmp_path):
  """A batch of a gigabyte's activations, in an address space that ends before."""
  assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
  script = LITTLE_MEMORY.format(room=1 << 30)
  run = trainer(tmp_path / "run", "--config.data.batch_size=160", "--config.model.stem=4096", script=script)
  assert run.end(240) == 2, run.text()[-3000:]
  assert "out of memory" in run.text() and "--config.train.accumulate" in run.text()


def test_fault_72_a_soak_is_flat(trainer, tmp_path):
  """Updates with saves and logs: memory, files, threads and step time of the second half are those of the first."""
  run, every = trainer(tmp_path / "run", steps=LONG), SOAK // 12
  run.wait_for("step 200/")
  readings = []
  for step in range(200, 200 + SOAK, every):
    run.wait_for(f"step {step}/")
    status = Path(f"/proc/{run.process.pid}/status").read_text()
    status = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.M))
    files = len(os.listdir(f"/proc/{run.process.pid}/fd"))
    readings.append((step, int(status["VmRSS"]) / 1024, files, int(status["Threads"])))
  run.kill(signal.SIGTERM)
  assert run.end(60) == 143
  half = len(readings) // 2
  first, second = (np.array(part)[:, 1:].mean(axis=0) for part in (readings[:half], readings[half:]))
  logged = [row for row in rows(tmp_path / "run") if "time/compute" in row]
  times = [r["time/compute"] + r["time/data"] for r in logged if 200 <= r["step"] <= 200 + SOAK - every]
  early, late = (np.median(part) for part in np.array_split(np.array(times), 2))
  names = ("step", "MiB", "open files", "threads")
  readings = [dict(zip(names, each, strict=True)) for each in readings]
  print(*readings, f"seconds a step, median: {early:.4f}, then {late:.4f}", sep="\n")
  record("soak", readings=readings, seconds_a_step=[float(early), float(late)])
  assert second[0] < first[0] + 16 and abs(second[1] - first[1]) < 6 and abs(second[2] - first[2]) < 6
  # The proof has the machine to itself; beside other tests the pace says nothing.
  assert "NWT_SOAK" not in os.environ or late < 1.5 * early
