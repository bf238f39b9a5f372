"""The evaluation: which models and clips it measures, and a short run on the shipped models."""

import json
import re
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

from nwt_jax import evaluate
from nwt_jax.data import dataset
from nwt_jax.errors import InputError
from nwt_jax.metrics import evaluation, face


def write_clips(path, **sizes):
  """A data set of grey for `tiny_release`, so many clips a split; the second of each is of an episode it lacks."""

  def records(split):
    for place in range(sizes.get(split, 0)):
      video = np.full((4, 32, 24, 3), 60 + 40 * place, np.uint8)
      yield {
        "name": f"{split}{place}",
        "episode": place % 2,
        "frame_count": len(video),
        "frames": [cv2.imencode(".png", frame)[1].tobytes() for frame in video],
        "mel": np.zeros((16, 80), np.float32),
        "audio": np.arange(3200, dtype=np.int16),
        "truth": "",
      }

  facts = {"height": 32, "width": 24, "fps": 30, "sample_rate": 24_000, "episodes": ["ann", "stranger"]}
  splits = {split: (sizes.get(split, 0), records(split)) for split in ("train", "validation", "test")}
  dataset.write_dataset(path, "clips", dataset.clip_features(), splits, facts, records_per_shard=4)
  return path


@pytest.fixture
def dvae_alone(tiny_release, tmp_path):
  """A training workdir of stage 1."""
  export = tmp_path / "run" / "export"
  export.mkdir(parents=True)
  for name in ("dvae.json", "dvae.safetensors"):
    (export / name).write_bytes((tiny_release / name).read_bytes())
  return tmp_path / "run"


def test_test_is_measured_or_validation_where_there_is_no_test(tmp_path, capsys):
  assert evaluate.choose_split(write_clips(tmp_path / "all", train=2, validation=1, test=1), None) == "test"
  assert not capsys.readouterr().out
  some = write_clips(tmp_path / "some", train=2, validation=1)
  assert evaluate.choose_split(some, None) == "validation"
  assert "has no clips for test: measured on validation" in capsys.readouterr().out
  assert evaluate.choose_split(some, "train") == "train"
  with pytest.raises(InputError, match=r"no clips in --split=test \(train 2, validation 1, test 0\)"):
    evaluate.choose_split(some, "test")


def test_what_training_saw_is_measured_only_when_asked(tmp_path):
  alone = write_clips(tmp_path / "alone", train=2)
  with pytest.raises(InputError, match="no clips out of training.*one recording dealt in blocks.*--split=train"):
    evaluate.choose_split(alone, None)
  assert evaluate.choose_split(alone, "train") == "train"


def test_a_table_and_a_file_say_what_they_are_of_and_what_training_saw():
  for split, seen in (("test", False), ("validation", False), ("train", True)):
    facts = evaluate.measured_on("mine", split, 1)
    assert facts == {"data": "mine", "split": split, "clips": 1, "seen_in_training": seen}
    assert evaluate.heading(facts).startswith(f"1 clip of mine, split {split}")
    assert ("SEEN IN TRAINING" in evaluate.heading(facts)) == seen
  talker = evaluate.measured_on("", "", 20)
  assert talker["split"] is None and not talker["seen_in_training"]
  assert evaluate.heading(talker) == f"20 clips of the talker, seed {evaluate.TEST_SEED}"


def test_what_the_checkpoint_holds_is_measured_and_a_dvae_alone_when_asked(tiny_release, dvae_alone):
  assert evaluate.choose_families(tiny_release, []) == ["mar", "far"]
  assert evaluate.choose_families(tiny_release, ["far", "dvae"]) == ["far"]
  assert evaluate.choose_families(tiny_release, ["dvae"]) == evaluate.choose_families(dvae_alone, []) == ["dvae"]
  assert evaluate.load(dvae_alone, ["dvae"])["dvae"].family == "dvae"
  with pytest.raises(InputError, match="has no mar model"):
    evaluate.load(dvae_alone, ["mar"])
  with pytest.raises(InputError, match="has 'mra'; choose from mar, far, or dvae"):
    evaluate.choose_families(tiny_release, ["mra"])


def test_a_stage_1_workdir_is_measured_on_validation(start, dvae_alone, tmp_path):
  clips = write_clips(tmp_path / "clips", train=2, validation=2)
  done = start("evaluate", f"--checkpoint={dvae_alone}", f"--data={clips}", f"--output={tmp_path / 'out'}")
  assert done.returncode == 0, done.stderr
  assert f"2 clips of {clips}, split validation\n" in done.stdout and "get its mean embedding: stranger" in done.stdout
  metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
  wanted = {"clips": 2, "data": str(clips), "split": "validation", "seen_in_training": False}
  assert metrics.pop("measured_on") == wanted
  assert metrics["ssim"]["count"] == 2 and not any("." in name for name in metrics)
  if face.available():  # grey shows nobody
    nothing = {**dict.fromkeys(("mean", "std", "min", "max")), "count": 0, "unknown": 2}
    assert metrics["ssim_mouth"] == metrics["mouth_corr_recon"] == nothing
    assert re.search(r"\nssim_mouth +unknown +unknown +0 +2\n", done.stdout)
  for name in ("real_above_generated.png", "real_beside_generated.mp4"):
    assert (tmp_path / "out" / name).stat().st_size > 500


def test_the_model_cards_table_takes_a_metrics_file_with_its_heading_and_what_is_unknown():
  table = runpy.run_path(str(Path(__file__).parent.parent / "scripts" / "model_card.py"))["table"]
  metrics = {"mar.mouth_lag_frames": evaluation.summary([0.0, None]), "psnr": evaluation.summary([None])}
  rows = table({"measured_on": evaluate.measured_on("", "", 2), **metrics})
  assert rows.splitlines()[2:] == [
    "| `mar.mouth_lag_frames` | 0.000 | 0.000 | 1, 1 unknown | 0 or 1 |",
    "| `psnr` | unknown | unknown | 0, 1 unknown |  |",
  ]


def test_bad_input_is_refused(refused, tmp_path):
  out = f"--output={tmp_path / 'out'}"
  assert "--output is missing" in refused("evaluate")
  assert "no release is there" in refused("evaluate", f"--checkpoint={tmp_path}", out)
  assert "give it with --data" in refused("evaluate", "--split=validation", out)


@pytest.mark.slow
def test_the_shipped_models_are_measured(start, tmp_path):
  pytest.importorskip("espeakng_loader", reason="the talker's speech needs the extra [talker]")
  done = start("evaluate", "--clips=2", f"--output={tmp_path}", timeout=900)
  assert done.returncode == 0, done.stderr
  metrics = json.loads((tmp_path / "metrics.json").read_text())
  assert metrics["measured_on"]["split"] is None and "2 clips of the talker, seed" in done.stdout
  wanted = {"ssim", "ssim_mouth", "ssim_episode_mean_frame", "mouth_corr_real", "mouth_corr_recon"}
  priors = ("mouth_corr", "mouth_corr_shuffled", "mouth_lag_frames", "episode_accuracy", "style_copy_accuracy")
  wanted |= {f"{family}.{name}" for family in ("mar", "far") for name in priors}
  assert wanted <= metrics.keys()
  assert metrics["mouth_corr_real"]["mean"] >= 0.98 and metrics["ssim"]["count"] == 2
  assert metrics["mar.style_real_accuracy"]["mean"] == 1.0
  for name in ("real_above_generated.png", "real_beside_generated.mp4"):
    assert (tmp_path / name).stat().st_size > 1000
