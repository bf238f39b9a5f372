"""The doctor's screen: every line on a healthy machine, one FAIL line and exit code 1 for each thing that is broken."""

import errno
import os
import re
import sys

import numpy as np
import pytest

from nwt_jax import doctor
from nwt_jax.configs import dvae_lwt
from nwt_jax.train import loop, stages, trial
from nwt_jax.train.runtime import engines
from nwt_jax.train.stages import dvae

NAMES = (
  "nwt_jax", "Python", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "machine", "memory",
  "devices", "compile cache", "cluster", "ffmpeg", "clip", "examination", "extra talker", "extra faces", "extra beam",
  "extra download", "disk",
)  # fmt: skip


def read(done):
  """The marks and texts of a screen, by check, and its last line."""
  assert "Traceback" not in done.stdout + done.stderr
  *lines, last = done.stdout.splitlines()
  rows = [re.fullmatch(r"(ok|warn|FAIL) +(\S.*?)  +(\S.*)", line) for line in lines]
  assert all(rows), done.stdout
  return {row[2]: (row[1], row[3]) for row in rows}, last


def failed(done):
  """The names and texts of what FAILed; the last line and the exit code must say so too."""
  rows, last = read(done)
  bad = {name: text for name, (mark, text) in rows.items() if mark == "FAIL"}
  assert done.returncode == 1 and last.startswith(", ".join(bad) + ": ")
  return bad


def test_a_healthy_machine_has_every_line(start, tmp_path):
  done = start("doctor", "--notrain", f"--workdir={tmp_path}")
  rows, last = read(done)
  assert tuple(rows) == NAMES
  assert done.returncode == 0 and last.startswith("Nothing failed"), done.stdout
  assert rows["devices"] == ("ok", "1 x cpu (cpu), as JAX_PLATFORMS=cpu asks")
  assert not list(tmp_path.iterdir()), "it must leave nothing behind"


@pytest.mark.slow
def test_training_resumes_to_the_same_bits(start, tmp_path):
  done = start("doctor", f"--workdir={tmp_path}")
  rows, _ = read(done)
  assert tuple(rows) == (*NAMES, "training")
  assert done.returncode == 0 and rows["training"][1].endswith("resumed: the same bits"), done.stdout
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  "resumes, repeats, wanted",
  [
    (True, True, ("ok", "resumed: the same bits")),
    (True, False, ("FAIL", "resumed: other bits; paste all lines into an issue")),
    (False, True, ("FAIL", "resumed: the runs began at steps [0, 0, 0]; paste all lines into an issue")),
  ],
)
def test_training_that_does_not_resume_fails(tmp_path, monkeypatch, resumes, repeats, wanted):
  def train(config, workdir, make_stage):
    first = doctor.STOP if resumes and workdir.is_dir() else 0
    workdir.mkdir(exist_ok=True)
    make_stage(config).batches(first)
    return {"weights": np.float32([1 if repeats else 1 + 1e-7 * first])}, {}

  never = lambda *_: None
  stage = stages.Stage(
    state=None,
    step=never,
    batches=lambda _: iter(()),
    evaluate=never,
    export=never,
    progress=(),
    warning=never,
    fingerprint="",
  )
  monkeypatch.setattr(dvae, "make_stage", lambda config: stage)
  monkeypatch.setattr(loop, "train", train)
  mark, text = doctor.training(str(tmp_path))
  assert (mark, text[-len(wanted[1]) :]) == wanted


def test_memory_of_a_system_that_does_not_say_what_is_left(monkeypatch):
  monkeypatch.setattr(doctor.Path, "read_text", lambda path: "MemTotal: 9 kB\n" if path.name == "meminfo" else "max\n")
  total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
  assert doctor.memory()[1] == f"{total:.1f} GB, {total:.1f} GB to use"


@pytest.mark.parametrize("folder", ["/proc/nothing", "/proc"])
def test_a_workdir_that_cannot_be_written(start, folder):
  bad = failed(start("doctor", "--notrain", f"--workdir={folder}"))
  assert list(bad) == ["disk"] and f"--workdir={folder} " in bad["disk"]


def test_a_full_disk(tmp_path, monkeypatch):
  def fsync(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, "fsync", fsync)
  mark, text = doctor.disk(tmp_path)
  assert mark == "FAIL" and "No space left on device" in text
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, "", "#!/bin/sh\necho ffmpeg version 1\n"])
def test_a_missing_or_poor_ffmpeg(start, tmp_path, content):
  path = tmp_path / "ffmpeg"
  if content is not None:
    path.write_text(content)
    path.chmod(0o755)
  bad = failed(start("doctor", "--notrain", f"--workdir={tmp_path}", IMAGEIO_FFMPEG_EXE=str(path)))
  assert list(bad) == ["ffmpeg"] and bad["ffmpeg"].endswith("; unset IMAGEIO_FFMPEG_EXE")


def test_devices_that_do_not_start(start, tmp_path):
  bad = failed(start("doctor", f"--workdir={tmp_path}", JAX_PLATFORMS="nonsense"))
  assert list(bad) == ["devices"] and "nonsense" in bad["devices"]


def test_what_breaks_in_a_check_is_one_line():
  def broken():
    raise RuntimeError(f"first\nsecond {os.path.expanduser('~/')}file")

  assert doctor.attempt(broken) == ("FAIL", "RuntimeError: first second ~/file")


@pytest.mark.parametrize(
  "body, wanted",
  [
    ("import os; os.abort()", "ended with SIGABRT"),
    ("import sys; sys.exit('no driver')", "ended with exit code 1; its last line: no driver"),
    ("import time; time.sleep(60)", "no answer after 5 s"),
  ],
)
def test_a_check_that_crashes_or_hangs_ends_alone(tmp_path, monkeypatch, body, wanted):
  (tmp_path / "python").write_text(f"#!{sys.executable}\n{body}\n")
  (tmp_path / "python").chmod(0o755)
  monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
  mark, text = doctor.run_isolated("devices", "", 5)
  assert mark == "FAIL" and text.startswith(wanted)


ADDRESS = {"JAX_COORDINATOR_ADDRESS": "a:1"}
SLURM = {
  "SLURM_JOB_ID": "7",
  "SLURM_PROCID": "3",
  "SLURM_NTASKS": "8",
  "SLURM_STEP_NODELIST": "a",
  "SLURM_LOCALID": "1",
}
MPI = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"}
KUBERNETES = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


@pytest.mark.parametrize(
  "environment, wanted",
  [
    ({}, ("ok", "none: one process")),
    ({"JAX_NUM_PROCESSES": "1"} | SLURM, ("ok", "one process, as JAX_NUM_PROCESSES=1 asks")),
    (ADDRESS | {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}, ("ok", "variables: process 1 of 2")),
    (ADDRESS | {"JAX_NUM_PROCESSES": "2"}, ("FAIL", "JAX_NUM_PROCESSES=2; set JAX_PROCESS_ID too")),
    (ADDRESS, ("warn", "JAX_NUM_PROCESSES is not set")),
    (SLURM, ("ok", "Slurm: process 3 of 8")),
    ({"SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}, ("warn", "Slurm, but srun did not start")),
    (MPI, ("warn", "Open MPI 5, which")),
    (MPI | {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://1.2.3.4:5"}, ("ok", "Open MPI: process 0 of 4")),
    ({"TPU_WORKER_ID": "1", "TPU_WORKER_HOSTNAMES": "a,b"}, ("ok", "TPU VM: process 1 of 2")),
    (KUBERNETES, ("ok", "Kubernetes: one process")),
    (KUBERNETES | {"JOB_COMPLETION_INDEX": "2"}, ("warn", "Kubernetes, an indexed job or JobSet: process 2, but")),
  ],
)
def test_cluster_engines_are_told_apart(environment, wanted, monkeypatch):
  monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
  mark, text = engines.detected(environment)
  assert (mark, text[: len(wanted[1])]) == wanted


def test_versions_are_held_against_what_the_package_wants(monkeypatch):
  monkeypatch.setattr(doctor.packages, "requires", lambda _: ["jax<0.2", "numpy>=1", "nothing-such>=3"])
  assert doctor.version("jax")[0] == "warn" and "wanted <0.2; pip install 'jax<0.2'" in doctor.version("jax")[1]
  assert doctor.version("numpy")[0] == "ok"
  assert doctor.version("nothing-such") == ("FAIL", "not installed; pip install 'nothing-such>=3'")


def test_the_tiny_config_is_the_packages_but_for_its_size():
  def leaves(config, name=""):
    for key, value in config.items():
      yield from leaves(value, f"{name}{key}.") if hasattr(value, "items") else [(f"{name}{key}", value)]

  tiny, real = dict(leaves(trial.tiny_config("", 4, 3))), dict(leaves(dvae_lwt.get_config("tiny")))
  assert tiny.keys() == real.keys()
  assert {name for name in tiny if tiny[name] != real[name]} == {
    "model.num_episodes", "critics", "data.frames", "data.num_threads", "train.steps", "train.eval_every",
    "train.save_every", "train.keep", "eval.frames",
  }  # fmt: skip
