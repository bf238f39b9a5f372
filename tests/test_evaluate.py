"""The evaluation: its numbers' bookkeeping, and a short run on the shipped models."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from nwt_jax import evaluate
from nwt_jax.data.talker import EPISODES, STYLES, render
from nwt_jax.errors import InputError
from nwt_jax.measure.mouth import mouth_box
from nwt_jax.measure.similarity import ssim_map
from tests.talking import moving_face


def test_summary_and_table():
  summary = evaluate.summary([0.0, 1.0, 2.0])
  assert summary == {"mean": 1.0, "std": pytest.approx(np.std([0, 1, 2])), "min": 0.0, "max": 2.0, "count": 3}
  assert "mar.mouth_corr" in evaluate.table({"mar.mouth_corr": summary})


def test_chance_levels_stand_beside_the_classifiers():
  chances = evaluate.chances(talker=True)
  assert chances["episode_chance"]["mean"] == 1 / 8 and chances["style_chance"]["mean"] == 1 / 18
  assert evaluate.chances(talker=False) == {}


class Perfect:
  """A model that answers with the clip itself: of the speech, or, for a style to copy, of the style's video."""

  def __init__(self, clips):
    self.clips = clips

  def encode(self, video):
    return video

  def decode(self, codes, episode):
    return codes

  def generate(self, audio, rate, seed, episode, style_from=None):
    video = self.clips[int(audio[0])]["video"] if style_from is None else style_from
    return [SimpleNamespace(frames=video, codes=video[:, :1, :1])]

  def differences(self, job, codes):
    return np.zeros(0)


@pytest.fixture(scope="module")
def drawn():
  """Clips with truth; the last one's talker is unknown to the model."""
  style = {name: values[0] for name, values in STYLES.items()}
  clips = []
  for number, episode in enumerate(EPISODES[:3]):
    motion = moving_face(number)
    video, truth = render(motion, episode, style, 64, 56), {"opening": motion.opening, "style": style}
    clips.append({"video": video, "audio": np.full(2, number), "episode": episode, "truth": truth})
  clips[-1]["episode"] = "mean"
  return clips


def means(clips):
  return {clip["episode"]: clip["video"].mean(axis=0).astype(np.uint8) for clip in clips}


def test_a_perfect_model_is_perfect_and_a_talker_held_out_of_training_has_no_episode(drawn):
  metrics, pictures = evaluate.measure({"mar": Perfect(drawn)}, drawn, means(drawn))
  assert metrics["ssim"]["mean"] == 1 > metrics["ssim_episode_mean_frame"]["mean"]
  assert metrics["mar.mouth_corr"]["mean"] == metrics["mouth_corr_real"]["mean"] > 0.98
  assert metrics["mar.mouth_corr_shuffled"]["mean"] < 0.8 and metrics["mar.mouth_lag_frames"]["mean"] == 0
  assert metrics["mar.mouth_corr"]["count"] == 3
  for name in ("mar.episode_accuracy", "mar.style_copy_accuracy"):
    assert (metrics[name]["mean"], metrics[name]["count"]) == (1, 2), name
  assert len(pictures["mar"]) == 3


class Grey(Perfect):
  """A model whose every picture is half as strong as it should be."""

  def decode(self, codes, episode):
    return codes // 2 + 64


def test_the_mouth_is_judged_in_its_frame(drawn):
  metrics, _ = evaluate.measure({"mar": Grey(drawn)}, drawn, means(drawn))
  inside = {"ssim_mouth": [], "ssim_mouth_episode_mean_frame": []}
  for clip in drawn:
    video, mean = clip["video"], means(drawn)[clip["episode"]]
    top, bottom, left, right = mouth_box(video)
    assert bottom - top <= 14  # little more than SSIM's window of 11: cut out first, most of it would be its own mirror
    for name, other in (("ssim_mouth", video // 2 + 64), ("ssim_mouth_episode_mean_frame", [mean] * len(video))):
      inside[name] += [
        np.mean([ssim_map(a, b)[top:bottom, left:right].mean() for a, b in zip(video, other, strict=True)])
      ]
  for name, values in inside.items():
    assert metrics[name]["mean"] == pytest.approx(np.mean(values)), name


def test_a_real_clip_without_a_face_is_told_and_left_out_of_the_mouths(drawn, monkeypatch, capsys):
  clips = [{**clip, "truth": None} for clip in drawn]
  clips[1]["video"] = np.zeros_like(clips[1]["video"])

  class Ruler:
    def mouth_box(frames):
      if not frames.any():
        raise InputError("no face found")
      return 20, 50, 10, 46

    def mouth_opening(frames):
      return frames[:, 30:40, 24:32].mean(axis=(1, 2, 3))

  monkeypatch.setattr(evaluate, "choose_ruler", lambda clips: Ruler)
  metrics, _ = evaluate.measure({"far": Perfect(clips)}, clips, means(clips))
  assert "test clip 1: its mouth is not measured: no face found" in capsys.readouterr().out
  assert metrics["ssim"]["count"] == 3 and metrics["ssim_mouth"]["count"] == metrics["far.mouth_corr"]["count"] == 2
  assert metrics["far.mouth_corr"]["mean"] == pytest.approx(1)
  assert "far.episode_accuracy" not in metrics and "episode_chance" not in metrics


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
