"""Faults of several processes: ranks that vanish or change in number; real trainers on tiny MNIST (3-6, 11, 12, 20)."""

import re
import signal
import socket
import time

import numpy as np
import pytest

from tests.faults.conftest import LONG, SAVE, STEPS, fingerprint, finished, free_port, rows, steps_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def pair(trainer, workdir, *overrides, **options):
  """Two processes of one device each."""
  port = free_port()
  return [trainer(workdir, *overrides, rank=(index, 2, port), **options) for index in range(2)]


@pytest.fixture(scope="module")
def two_devices(tmp_path_factory):
  return tmp_path_factory.mktemp("two") / "run"


@pytest.fixture
def truth_of_two(two_devices, trainer):
  """Fingerprint of one process with two devices."""
  if not two_devices.exists():
    finished(trainer(two_devices, JAX_NUM_CPU_DEVICES="2"))
  return fingerprint(two_devices)


def test_fault_03_two_processes_equal_one_with_two_devices(trainer, truth_of_two, tmp_path):
  finished(*pair(trainer, tmp_path / "run"))
  assert fingerprint(tmp_path / "run") == truth_of_two


def test_fault_04_saved_by_two_resumed_by_one_and_back(trainer, truth_of_two, tmp_path):
  finished(*pair(trainer, tmp_path / "run", steps=2 * SAVE))
  finished(trainer(tmp_path / "run", steps=4 * SAVE, JAX_NUM_CPU_DEVICES="2"))
  finished(*pair(trainer, tmp_path / "run"))
  assert fingerprint(tmp_path / "run") == truth_of_two


CUT_SMALL_ARRAYS = """
import runpy
from nwt_jax.train.runtime import sharding
sharding.SMALLEST = 16
shard_state = sharding.shard_state
def counted(state, mesh):
  laid = shard_state(state, mesh)
  import jax
  cut = sum(x.addressable_data(0).size < x.size for x in jax.tree.leaves(laid))
  print(f"{cut} arrays are cut", flush=True)
  return laid
from nwt_jax.train import loop
loop.shard_state = counted
runpy.run_module("nwt_jax.main", run_name="__main__")
"""


def test_fault_04_a_cut_state_is_saved_by_two_and_resumed_by_one(trainer, tmp_path):
  """FSDP: parameters and optimisers lie between the processes; one process with two devices goes on to the same end."""
  cut = {"script": CUT_SMALL_ARRAYS}
  runs = pair(trainer, tmp_path / "run", "--config.train.fsdp=2", steps=2 * SAVE, **cut)
  finished(*runs)
  assert all(int(re.search(r"(\d+) arrays are cut", run.text())[1]) > 20 for run in runs)
  finished(trainer(tmp_path / "run", "--config.train.fsdp=2", JAX_NUM_CPU_DEVICES="2", **cut))
  finished(trainer(tmp_path / "whole", "--config.train.fsdp=2", JAX_NUM_CPU_DEVICES="2", **cut))
  assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "whole")
  last = trainer(tmp_path / "run", steps=STEPS + SAVE, JAX_NUM_CPU_DEVICES="2")  # and whole again
  finished(last)
  assert "config changed: train.fsdp was 2, is 1" in last.text()


def test_fault_05_another_number_of_devices_is_close_and_said(trainer, truth_of_two, two_devices, tmp_path):
  finished(trainer(tmp_path / "run", steps=SAVE, JAX_NUM_CPU_DEVICES="2"))
  run = trainer(tmp_path / "run", steps=2 * SAVE)
  finished(run)
  assert "devices was 2 x cpu, is 1 x cpu: training goes on, but not bit for bit" in run.text()
  there, here = (
    next(row for row in rows(folder) if row["step"] == SAVE + 10) for folder in (two_devices, tmp_path / "run")
  )
  for name in ("loss/recon", "loss/kl"):
    np.testing.assert_allclose(here[name], there[name], rtol=0.05)


def test_fault_06_a_signal_to_one_of_two_stops_both_at_the_same_step(trainer, truth_of_two, tmp_path):
  runs = pair(trainer, tmp_path / "run", steps=LONG)
  runs[0].wait_for("step 20/")
  runs[1].kill(signal.SIGTERM)
  assert [run.end(120) for run in runs] == [143, 143]
  steps = {re.search(r"stopped by a signal at step (\d+)", run.text())[1] for run in runs}
  assert steps == {str(steps_of(tmp_path / "run")[-1])}
  again = trainer(tmp_path / "again", steps=int(steps.pop()), JAX_NUM_CPU_DEVICES="2")
  finished(again)
  assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "again")


@pytest.mark.parametrize("victim", [0, 1])
def test_fault_11_when_a_rank_is_killed_the_other_ends(trainer, truth_of_two, tmp_path, victim):
  heartbeat = 10
  runs = pair(trainer, tmp_path / "run", f"--config.train.heartbeat={heartbeat}", steps=LONG)
  runs[0].wait_for(f"step {SAVE + 10}/")
  runs[victim].kill()
  began = time.monotonic()
  assert runs[1 - victim].end(heartbeat + 30) != 0
  waited = time.monotonic() - began
  print(f"the other process ended after {waited:.1f} s")
  assert waited < heartbeat + 15
  assert steps_of(tmp_path / "run")[-1] < STEPS
  finished(*pair(trainer, tmp_path / "run"))
  assert fingerprint(tmp_path / "run") == truth_of_two


RAISES = """
import os, runpy
from nwt_jax.errors import InputError
from nwt_jax.train.stages import mnist
read = mnist.digit_batches
def failing(*args):
  for number, batch in enumerate(read(*args)):
    if number == 30 and os.environ["JAX_PROCESS_ID"] == "{rank}":
      raise {error}
    yield batch
mnist.digit_batches = failing
runpy.run_module("nwt_jax.main", run_name="__main__")
"""


@pytest.mark.parametrize("rank, error, code", [(0, "InputError('a bad shard')", 2), (1, "KeyError('a bug')", 1)])
def test_fault_11_an_error_in_one_process_ends_the_other(trainer, tmp_path, rank, error, code):
  """And not after two hours: jax's exit waits for the others, which wait in the middle of an update."""
  script = RAISES.format(rank=rank, error=error)
  runs = pair(trainer, tmp_path / "run", "--config.train.heartbeat=10", script=script, steps=LONG)
  assert runs[rank].end(200) == code, runs[rank].text()
  assert ("a bad shard" if code == 2 else "a bug") in runs[rank].text()
  assert ("Traceback" in runs[rank].text()) == (code == 1)
  assert runs[1 - rank].end(25) != 0


def test_fault_12_no_coordinator_or_its_port_taken_is_a_line(trainer, tmp_path):
  port = free_port()
  alone = trainer(tmp_path / "run", rank=(1, 2, port), NWT_CONNECT_SECONDS="5")
  assert alone.end(120) == 2, alone.text()
  assert "cannot join the other processes" in alone.text() and "Traceback" not in alone.text()
  with socket.socket() as taken:
    taken.bind(("0.0.0.0", port))
    taken.listen()
    first = trainer(tmp_path / "run", rank=(0, 2, port), NWT_CONNECT_SECONDS="5")
    assert first.end(120) == 2, first.text()
  assert "cannot join the other processes" in first.text() and "Traceback" not in first.text()
  half = trainer(tmp_path / "run", JAX_NUM_PROCESSES="2")
  assert half.end(60) == 2 and "JAX_COORDINATOR_ADDRESS is not set" in half.text()
  assert not (tmp_path / "run").exists()


def test_fault_20_two_processes_in_a_folder_that_is_taken_each_say_a_line(trainer, tmp_path):
  first = trainer(tmp_path / "run", steps=LONG)
  first.wait_for("step 20/")
  runs = pair(trainer, tmp_path / "run")
  assert [run.end(100) for run in runs] == [2, 2]
  assert "another program is training in" in runs[0].text() and "Traceback" not in runs[0].text() + runs[1].text()
