"""The evaluation: its numbers' bookkeeping, and a short run on the shipped models."""

import json

import numpy as np
import pytest

from nwt_jax import evaluate


def test_summary_and_table():
  summary = evaluate.summary([0.0, 1.0, 2.0])
  assert summary == {"mean": 1.0, "std": pytest.approx(np.std([0, 1, 2])), "min": 0.0, "max": 2.0, "count": 3}
  assert "mar.mouth_corr" in evaluate.table({"mar.mouth_corr": summary})


def test_chance_levels_stand_beside_the_classifiers():
  chances = evaluate.chances(talker=True)
  assert chances["episode_chance"]["mean"] == 1 / 8 and chances["style_chance"]["mean"] == 1 / 18
  assert evaluate.chances(talker=False) == {}


def test_bad_input_is_refused(refused, tmp_path):
  assert "--output is missing" in refused("evaluate")
  assert "holds no prior" in refused("evaluate", f"--checkpoint={tmp_path}", f"--output={tmp_path / 'out'}")


@pytest.mark.slow
def test_the_shipped_models_are_measured(start, tmp_path):
  pytest.importorskip("espeakng_loader", reason="the talker's speech needs the extra [talker]")
  done = start("evaluate", "--clips=2", f"--output={tmp_path}", timeout=900)
  assert done.returncode == 0, done.stderr
  metrics = json.loads((tmp_path / "metrics.json").read_text())
  wanted = {"ssim", "ssim_mouth", "ssim_episode_mean_frame", "mouth_corr_real", "mouth_corr_recon"}
  priors = ("mouth_corr", "mouth_corr_shuffled", "mouth_lag_frames", "episode_accuracy", "style_copy_accuracy")
  wanted |= {f"{family}.{name}" for family in ("mar", "far") for name in priors}
  assert wanted <= metrics.keys()
  assert metrics["mouth_corr_real"]["mean"] >= 0.98 and metrics["ssim"]["count"] == 2
  assert metrics["mar.style_real_accuracy"]["mean"] == 1.0
  for name in ("real_above_generated.png", "real_beside_generated.mp4"):
    assert (tmp_path / name).stat().st_size > 1000
