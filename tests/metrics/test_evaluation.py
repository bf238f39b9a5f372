"""What models score on clips: the numbers' bookkeeping, a model that is perfect, mouths that nobody finds."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from nwt_jax.errors import InputError
from nwt_jax.metrics import evaluation
from nwt_jax.metrics.similarity import ssim_map
from nwt_jax.talker.clip import EPISODES, STYLES, render
from nwt_jax.talker.lips import mouth_box
from tests.talking import moving_face


def test_summary_and_table():
  summary = evaluation.summary([0.0, 1.0, 2.0])
  values = {"mean": 1.0, "std": pytest.approx(np.std([0, 1, 2])), "min": 0.0, "max": 2.0}
  assert summary == {**values, "count": 3, "unknown": 0}
  assert "mar.mouth_corr" in evaluation.table({"mar.mouth_corr": summary})


def test_what_is_unknown_is_counted_apart_and_is_no_part_of_a_mean():
  assert evaluation.summary([0.5, None, 1.0]) == {**evaluation.summary([0.5, 1.0]), "unknown": 1}
  nothing = evaluation.summary([None, None])
  assert nothing == {**dict.fromkeys(("mean", "std", "min", "max")), "count": 0, "unknown": 2}
  assert json.loads(json.dumps(nothing, allow_nan=False))["mean"] is None
  row = evaluation.table({"far.mouth_corr": nothing}).splitlines()[1].split()
  assert row == ["far.mouth_corr", "unknown", "unknown", "0", "2"]


def test_chance_levels_stand_beside_the_classifiers():
  chances = evaluation.chances(talker=True)
  assert chances["episode_chance"]["mean"] == 1 / 8 and chances["style_chance"]["mean"] == 1 / 18
  assert evaluation.chances(talker=False) == {}


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
  found = {clip["episode"]: clip["video"].mean(axis=0).astype(np.uint8) for clip in clips}
  return {"mean": next(iter(found.values())), **found}


def test_a_perfect_model_is_perfect_and_a_talker_held_out_of_training_has_no_episode(drawn):
  metrics, pictures = evaluation.measure({"mar": Perfect(drawn)}, drawn, means(drawn))
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
  metrics, _ = evaluation.measure({"mar": Grey(drawn)}, drawn, means(drawn))
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


class Ruler:
  """Finds no face where all is black; reads a mouth at one place otherwise."""

  def mouth_box(frames):
    if not frames.any():
      raise InputError("no face found")
    return 20, 50, 10, 46

  def mouth_opening(frames):
    return frames[:, 30:40, 24:32].mean(axis=(1, 2, 3))


@pytest.fixture
def real(drawn, monkeypatch):
  """The clips as if they were of real people."""
  monkeypatch.setattr(evaluation, "choose_ruler", lambda clips: Ruler)
  return [{**clip, "truth": None} for clip in drawn]


def counts(metrics, name):
  return metrics[name]["count"], metrics[name]["unknown"]


def test_a_real_clip_without_a_face_is_told_and_left_out_of_the_mouths(real, capsys):
  real[1]["video"] = np.zeros_like(real[1]["video"])
  metrics, _ = evaluation.measure({"far": Perfect(real)}, real, means(real))
  assert "clip 1: its mouth is unknown: no face found" in capsys.readouterr().out
  assert counts(metrics, "ssim") == (3, 0)
  for name in ("ssim_mouth", "ssim_mouth_episode_mean_frame", "mouth_corr_recon", "far.mouth_corr"):
    assert counts(metrics, name) == (2, 1), name
  assert counts(metrics, "far.mouth_corr_shuffled") == (1, 2)  # nor does its mouth say anything about the next clip
  assert metrics["far.mouth_corr"]["mean"] == pytest.approx(1)
  assert "far.episode_accuracy" not in metrics and "episode_chance" not in metrics


def test_a_mouth_that_does_not_move_is_unknown_and_its_picture_is_judged(real, capsys):
  real[1]["video"] = np.broadcast_to(real[1]["video"][:1], real[1]["video"].shape)
  metrics, _ = evaluation.measure({"far": Perfect(real)}, real, means(real))
  assert "clip 1: its mouth does not move" in capsys.readouterr().out
  assert counts(metrics, "ssim_mouth") == (3, 0)
  for name in ("mouth_corr_recon", "far.mouth_corr", "far.mouth_lag_frames"):
    assert counts(metrics, name) == (2, 1), name


class Faceless(Perfect):
  """A model of which the sampled clips `lost` show nobody."""

  def __init__(self, clips, lost):
    super().__init__(clips)
    self.lost = lost

  def generate(self, audio, rate, seed, episode, style_from=None):
    (chunk,) = super().generate(audio, rate, seed, episode, style_from)
    return [SimpleNamespace(frames=0 * chunk.frames if int(audio[0]) in self.lost else chunk.frames, codes=chunk.codes)]


def test_a_sampled_clip_without_a_face_is_unknown_and_no_zero_in_the_mean(real):
  metrics, _ = evaluation.measure({"far": Faceless(real, {1})}, real, means(real))
  assert counts(metrics, "far.mouth_corr") == counts(metrics, "far.mouth_lag_frames") == (2, 1)
  assert metrics["far.mouth_corr"]["mean"] == pytest.approx(1) and metrics["far.mouth_lag_frames"]["min"] == 0
  assert counts(metrics, "mouth_corr_recon") == (3, 0)


def test_where_no_sampled_clip_shows_a_face_nothing_is_known(real):
  metrics, _ = evaluation.measure({"far": Faceless(real, {0, 1, 2})}, real, means(real))
  for name in ("far.mouth_corr", "far.mouth_corr_shuffled", "far.mouth_lag_frames"):
    assert counts(metrics, name) == (0, 3) and metrics[name]["mean"] is None, name
  json.dumps(metrics, allow_nan=False)


def test_one_clip_has_no_other_speech_and_is_measured_otherwise(drawn):
  metrics, _ = evaluation.measure({"mar": Perfect(drawn)}, drawn[:1], means(drawn))
  assert counts(metrics, "mar.mouth_corr") == (1, 0) and counts(metrics, "mar.mouth_corr_shuffled") == (0, 1)
  assert metrics["mar.style_copy_accuracy"]["mean"] == 1


def test_a_dvae_alone_is_measured_by_its_reconstructions(drawn):
  metrics, pictures = evaluation.measure({"dvae": Grey(drawn)}, drawn, means(drawn))
  assert metrics.keys() == {
    "ssim", "psnr", "ssim_episode_mean_frame", "ssim_mouth", "ssim_mouth_episode_mean_frame", "mouth_corr_real",
    "mouth_corr_recon",
  }  # fmt: skip
  assert pictures.keys() == {"recon"} and metrics["ssim"]["mean"] < 1


def test_an_episode_without_training_clips_stands_beside_the_mean_of_all(drawn):
  mean = np.full(drawn[0]["video"].shape[1:], 90, np.uint8)
  metrics, _ = evaluation.measure({"dvae": Perfect(drawn)}, drawn, {"mean": mean})
  assert counts(metrics, "ssim_episode_mean_frame") == (3, 0)
