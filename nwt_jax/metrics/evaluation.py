"""Scores models on clips: reconstruction, lip sync, episodes, style (paper 3.3-3.6), each beside a baseline."""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from nwt_jax.errors import InputError
from nwt_jax.names import MEAN

UNKNOWN = np.zeros(0)  # the track of a mouth that is not known


def measure(models: dict, clips: list[dict], baseline: dict[str, np.ndarray]) -> tuple[dict, dict]:
  """Computes all metrics.

  Args: models: family -> NWT; that of "dvae" has no prior. clips: video uint8 [t h w 3], audio, episode (name), truth
    (dict or None). baseline: mean frame of each episode, and of all episodes.
  Returns: name -> {mean, std, count, ...}, and for each family (and "recon") the generated clips.
  """
  from nwt_jax.metrics.similarity import psnr, ssim

  first, values, pictures = next(iter(models.values())), {}, {}
  add = lambda name, value: values.setdefault(name, []).append(None if value is None else float(value))
  tracker, recons, truths = choose_mouth_tracker(clips), [], []
  for number, clip in enumerate(clips):
    video = clip["video"]
    recon = first.decode(first.encode(video), clip["episode"])
    recons.append(recon)
    add("ssim", ssim(video, recon).mean())
    add("psnr", psnr(video, recon).mean())
    still = np.broadcast_to(baseline.get(clip["episode"], baseline[MEAN]), video.shape)
    add("ssim_episode_mean_frame", ssim(video, still).mean())
    if tracker:
      truths.append(score_mouth(tracker, number, clip, recon, still, add))
  pictures["recon"] = recons
  talker = all(clip["truth"] for clip in clips)
  for family, model in models.items():
    if family == "dvae":
      continue
    samples = []
    for index, clip in enumerate(clips):
      job = model.generate(clip["audio"], 24_000, seed=index, episode=clip["episode"])
      sampled = job.collect()
      samples.append(sampled.frames[: len(clip["video"])])
      gaps = model.mismatches(job, sampled.codes)
      add(f"{family}.uncached_differences", len(gaps))  # symbols; each must be a near-tie
      add(f"{family}.uncached_largest_gap", gaps.max(initial=0.0))
    pictures[family] = samples
    if tracker:
      score_sync(family, truths, [tracker.mouth_opening(sample) for sample in samples], add)
    if talker:
      score_style(family, model, clips, samples, add)
  chance = chances(talker and pictures.keys() > {"recon"})
  return {name: summary(found) for name, found in values.items()} | chance, pictures


def score_mouth(
  tracker: Any, number: int, clip: dict, recon: np.ndarray, still: np.ndarray, add: Callable
) -> np.ndarray:
  """Scores a clip's mouth in its reconstruction.

  Returns: the mouth opening [t] that sampled mouths are compared with: the true one, or the tracked one; UNKNOWN where
    no mouth is found.
  """
  from nwt_jax.metrics.similarity import ssim
  from nwt_jax.talker.lips import correlation, moves

  video, read = clip["video"], UNKNOWN
  try:
    box, read = tracker.mouth_box(video), tracker.mouth_opening(video)
  except InputError as error:
    print(f"clip {number}: its mouth is unknown: {error}", flush=True)
    box = None
  if box and not moves(read):
    print(f"clip {number}: its mouth does not move, which says nothing about lips", flush=True)
  add("ssim_mouth", ssim(video, recon, box).mean() if box else None)
  add("ssim_mouth_episode_mean_frame", ssim(video, still, box).mean() if box else None)
  if clip["truth"]:
    add("mouth_corr_real", correlation(clip["truth"]["opening"], read))
  truth = clip["truth"]["opening"] if clip["truth"] else read
  add("mouth_corr_recon", correlation(truth, tracker.mouth_opening(recon)) if box else None)
  return truth


def choose_mouth_tracker(clips: list[dict]) -> Any:
  """Returns the module that tracks mouths: by the talker's colours, or by face landmarks if that extra is installed."""
  from nwt_jax.metrics import face
  from nwt_jax.talker import lips

  if all(clip["truth"] for clip in clips):
    return lips
  if face.available():
    opening = functools.partial(face.mouth_opening, least=face.KNOWN)
    return SimpleNamespace(mouth_box=face.mouth_box, mouth_opening=opening)
  print(f"no mouth measurements: real faces need the extra `faces`; {face.INSTALL}", flush=True)
  return None


def score_sync(family: str, truths: list[np.ndarray], openings: list[np.ndarray], add: Callable) -> None:
  """Scores how sampled mouths follow the speech they were sampled from and, as the baseline, another clip's speech."""
  from nwt_jax.talker.lips import best_lag, correlation

  for index, (truth, opening) in enumerate(zip(truths, openings, strict=True)):
    other = openings[index - 1] if len(openings) > 1 else UNKNOWN  # driven by another clip's speech
    add(f"{family}.mouth_corr", correlation(truth, opening))
    add(f"{family}.mouth_corr_shuffled", correlation(truth, other))
    add(f"{family}.mouth_lag_frames", best_lag(truth, opening))


def score_style(family: str, model: Any, clips: list[dict], samples: list[np.ndarray], add: Callable) -> None:
  """Scores the episode and the style of sampled talker clips against the truth."""
  from nwt_jax.talker.clip import EPISODES
  from nwt_jax.talker.likeness import classify_episode, classify_style

  for index, (clip, sample) in enumerate(zip(clips, samples, strict=True)):
    if clip["episode"] not in EPISODES:  # held out of training: shown with the mean embedding, like none of them
      continue
    add(f"{family}.episode_accuracy", classify_episode(sample) == clip["episode"])
    # The style and the episode of this clip, the speech of the one before (its own where it is the only one).
    wanted, other = clip["truth"]["style"], clips[index - 1]
    copy = model.generate(other["audio"], 24_000, seed=index, episode=clip["episode"], style_from=clip["video"])
    got = classify_style(copy.collect().frames, clip["episode"])
    add(f"{family}.style_copy_accuracy", got == wanted)
    for name in wanted:
      add(f"{family}.style_copy_accuracy.{name}", got[name] == wanted[name])
    add(f"{family}.style_real_accuracy", classify_style(clip["video"], clip["episode"]) == wanted)


def chances(talker: bool) -> dict:
  """Returns the chance levels of the classifiers, which are made for the talker's clips alone."""
  if not talker:
    return {}
  from nwt_jax.talker.likeness import EPISODE_CHANCE, STYLE_CHANCE

  exact = {"std": 0.0, "count": 0, "unknown": 0}
  return {"episode_chance": {"mean": EPISODE_CHANCE, **exact}, "style_chance": {"mean": STYLE_CHANCE, **exact}}


def summary(found: list[float | None]) -> dict:
  """Returns mean, standard deviation over clips, extremes and count of the known values; None if no value is known."""
  known = [value for value in found if value is not None]
  measures = {"mean": np.mean, "std": np.std, "min": np.min, "max": np.max}
  values = {name: float(measure(known)) if known else None for name, measure in measures.items()}
  return {**values, "count": len(known), "unknown": len(found) - len(known)}


def table(metrics: dict) -> str:
  """Formats the metrics for a terminal."""
  number = lambda value: f"{'unknown':>8s}" if value is None else f"{value:8.3f}"
  rows = [f"{'metric':38s} {'mean':>8s} {'std':>8s} {'count':>6s} {'unknown':>8s}"]
  rows += [
    f"{name:38s} {number(m['mean'])} {number(m['std'])} {m['count']:6d} {m['unknown'] or '':>8}"
    for name, m in sorted(metrics.items())
  ]
  return "\n".join(rows)
