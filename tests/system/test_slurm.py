"""Training in a real Slurm: told to stop twice, queued again by itself, and bit for bit what it would have been."""

import json
import sys

import jax
import numpy as np
import pytest

from nwt_jax.data import tokens
from nwt_jax.io.release import load_card, load_release
from tests import media
from tests.conftest import PROGRAM_ENVIRONMENT, ROOT, TEST_ENVIRONMENT
from tests.datasets import token_clips
from tests.system.slurm import ENDED, slurm

pytestmark = pytest.mark.system
STEPS = 100
TRAINING = (
  "--config=configs/far.py:tiny", f"--config.train.steps={STEPS}", "--config.train.save_every=1000",
  "--config.train.eval_every=1000", "--config.data.num_threads=0",
)  # fmt: skip
PROCESSES = ("--tasks-per-node=2", "--gpus-per-task=0", f"--python={sys.executable}")


def token_set(folder, release):
  """Tokens of the tiny dVAE's size."""
  card = load_card(release, "dvae")
  facts = {"height": 4, "width": 3, "heads": 2, "codes": 4, "sample_rate": 24_000, "clips_fingerprint": "0" * 64}
  facts |= {"episodes": card["episodes"], "video": card["video"], "clips": "none", "dvae_sha256": card["sha256"]}
  clips = [clip | {"codes": clip["codes"] % 4} for clip in token_clips(6)]
  tokens.write_tokens(folder, {"train": clips, "validation": [], "test": []}, facts)
  return folder


def step_of(workdir):
  """The last step that metrics.jsonl has."""
  path = workdir / "metrics.jsonl"
  lines = path.read_text().splitlines(keepends=True) if path.exists() else []
  whole = [line for line in lines if line.endswith("\n")]
  return json.loads(whole[-1])["step"] if whole else 0


def test_fault_13_a_job_that_slurm_requeues_goes_on_to_the_same_end(tmp_path, tiny_release):
  """One job is left alone. The other is put back by an operator, then sent SIGTERM, as before a time limit."""
  data = token_set(tmp_path / "data", tiny_release)
  quick = {"JAX_NUM_CPU_DEVICES": "1", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
  (tmp_path / "slurm").mkdir()
  with slurm(tmp_path / "slurm") as cluster:
    environment = {k: v for k, v in cluster.environment.items() if k not in TEST_ENVIRONMENT}
    environment |= PROGRAM_ENVIRONMENT | quick

    def submit(name):
      log, workdir = tmp_path / f"{name}.log", tmp_path / "Läufe hier" / name
      options = [*PROCESSES, f"--log={log}", "--"]
      given = [*TRAINING, f"--workdir={workdir}", f"--config.data.path={data}", f"--config.dvae={tiny_release}"]
      said = cluster.run("bash", ROOT / "launch/slurm_train.sh", *options, *given, cwd=ROOT, env=environment)
      return int(said.split()[-1]), workdir, log

    alone, whole, _ = submit("whole")
    number, workdir, log = submit("stopped")
    reach = lambda step: cluster.wait(number, lambda job: step_of(workdir) >= step, every=0.1)
    reach(5)
    cluster.run("scontrol", "requeue", str(number))
    cluster.wait(number, lambda job: job["Restarts"] == "1" and job["JobState"] == "RUNNING")
    first = step_of(workdir)
    assert 5 <= first < STEPS - 10, f"stopped at {first}"
    reach(first + 5)
    cluster.run("scancel", "--signal=TERM", str(number))
    cluster.wait(number, lambda job: job["Restarts"] == "2" and job["JobState"] == "RUNNING")
    second = step_of(workdir)
    assert second < STEPS, "training ended before it was told to stop"
    done = cluster.wait(number, lambda job: job["JobState"] in ENDED)
    text = log.read_text()
    assert (done["JobState"], done["ExitCode"], done["Restarts"]) == ("COMPLETED", "0:0", "2"), text
    assert cluster.wait(alone, lambda job: job["JobState"] == "COMPLETED")["Restarts"] == "0"
  for step in (first, second):  # nothing else is saved on the way: it went on from what SIGTERM saved
    assert text.count(f"stopped by a signal at step {step}") == 2  # both processes
    assert f"resuming {workdir} at step {step}" in text
  (straight, card), (turns, _) = load_release(whole, "far"), load_release(workdir, "far")
  jax.tree.map(np.testing.assert_array_equal, turns, straight)
  assert card["training"]["steps"] == STEPS


def test_preparation_as_a_job_array(tmp_path):
  """Two data sets from one list; given again, nothing is made twice."""
  for seed in range(5):
    media.clip(tmp_path / "in" / f"clip {seed}.mp4", seed, 1.0)
  (tmp_path / "in" / "all.txt").write_text("".join(f"clip {seed}.mp4\n" for seed in range(5)))
  (tmp_path / "slurm").mkdir()
  with slurm(tmp_path / "slurm") as cluster:
    environment = {k: v for k, v in cluster.environment.items() if k not in TEST_ENVIRONMENT} | PROGRAM_ENVIRONMENT
    output = tmp_path / "zwei Sätze"
    options = [f"--list={tmp_path / 'in' / 'all.txt'}", f"--output={output}", "--parts=2", "--cpus-per-task=1"]
    given = [f"--python={sys.executable}", "--", "--height=16", "--width=16", "--faces=False"]
    for _ in range(2):
      said = cluster.run("bash", ROOT / "launch/slurm_prepare.sh", *options, *given, cwd=ROOT, env=environment)
      number = said.split()[-1]
      for part in range(2):
        done = cluster.wait(f"{number}_{part}", lambda job: job["JobState"] in ENDED)
        assert done["JobState"] == "COMPLETED", (output / "lists" / f"part-000{part}.log").read_text()
  names = [json.loads((output / f"part-000{part}" / "index.json").read_text()) for part in range(2)]
  made = [sorted(row["name"] for rows in part.values() for row in rows) for part in names]
  assert made == [["clip 0", "clip 2", "clip 4"], ["clip 1", "clip 3"]]
  assert "already holds this data set" in (output / "lists" / "part-0000.log").read_text()
