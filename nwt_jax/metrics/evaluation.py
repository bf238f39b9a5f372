"""What models score on clips: reconstruction, lip sync, episodes, style (paper 3.3-3.6), each beside a baseline."""

import functools
from types import SimpleNamespace

import numpy as np

from nwt_jax.errors import InputError
from nwt_jax.prepare.write.splits import MEAN

UNKNOWN = np.zeros(0)  # the track of a mouth that is not known


def measure(models: dict, clips: list[dict], baseline: dict[str, np.ndarray]) -> tuple[dict, dict]:
  """All metrics.

  Args: models: family -> NWT; "dvae": one without a prior. clips: video uint8 [t h w 3], audio, episode (name), truth
    (dict or None). baseline: mean frame of each episode, and of all.
  Returns: name -> {mean, std, count, ...}, and for each family (and "recon") the generated clips.
  """
  from nwt_jax.metrics.similarity import psnr, ssim

  first, values, pictures = next(iter(models.values())), {}, {}
  note = lambda name, value: values.setdefault(name, []).append(None if value is None else float(value))
  ruler, recons, truths = choose_ruler(clips), [], []
  for number, clip in enumerate(clips):
    video = clip["video"]
    recon = first.decode(first.encode(video), clip["episode"])
    recons.append(recon)
    note("ssim", ssim(video, recon).mean())
    note("psnr", psnr(video, recon).mean())
    still = np.broadcast_to(baseline.get(clip["episode"], baseline[MEAN]), video.shape)
    note("ssim_episode_mean_frame", ssim(video, still).mean())
    if ruler:
      truths.append(judge_mouth(ruler, number, clip, recon, still, note))
  pictures["recon"] = recons
  talker = all(clip["truth"] for clip in clips)
  for family, model in models.items():
    if family == "dvae":
      continue
    samples = []
    for index, clip in enumerate(clips):
      job = model.generate(clip["audio"], 24_000, seed=index, episode=clip["episode"])
      chunks = list(job)
      samples.append(np.concatenate([chunk.frames for chunk in chunks])[: len(clip["video"])])
      gaps = model.differences(job, np.concatenate([chunk.codes for chunk in chunks]))
      note(f"{family}.uncached_differences", len(gaps))  # symbols; each must be a near-tie
      note(f"{family}.uncached_largest_gap", gaps.max(initial=0.0))
    pictures[family] = samples
    if ruler:
      judge_sync(family, truths, [ruler.mouth_opening(sample) for sample in samples], note)
    if talker:
      judge_looks(family, model, clips, samples, note)
  chance = chances(talker and pictures.keys() > {"recon"})
  return {name: summary(found) for name, found in values.items()} | chance, pictures


def judge_mouth(ruler, number: int, clip: dict, recon: np.ndarray, still: np.ndarray, note) -> np.ndarray:
  """A clip's mouth in its reconstruction. Returns: what sampled mouths are held against, its true opening [t] or the
  ruler's; UNKNOWN where no mouth is found."""
  from nwt_jax.metrics.similarity import ssim
  from nwt_jax.talker.lips import correlation, moves

  video, read = clip["video"], UNKNOWN
  try:
    box, read = ruler.mouth_box(video), ruler.mouth_opening(video)
  except InputError as error:
    print(f"clip {number}: its mouth is unknown: {error}", flush=True)
    box = None
  if box and not moves(read):
    print(f"clip {number}: its mouth does not move, which says nothing about lips", flush=True)
  note("ssim_mouth", ssim(video, recon, box).mean() if box else None)
  note("ssim_mouth_episode_mean_frame", ssim(video, still, box).mean() if box else None)
  if clip["truth"]:
    note("mouth_corr_real", correlation(clip["truth"]["opening"], read))
  truth = clip["truth"]["opening"] if clip["truth"] else read
  note("mouth_corr_recon", correlation(truth, ruler.mouth_opening(recon)) if box else None)
  return truth


def choose_ruler(clips: list[dict]):
  """What measures mouths: of the talker's colours, or of face landmarks where that extra is installed."""
  from nwt_jax.metrics import face
  from nwt_jax.talker import lips

  if all(clip["truth"] for clip in clips):
    return lips
  if face.available():
    opening = functools.partial(face.mouth_opening, least=face.KNOWN)
    return SimpleNamespace(mouth_box=face.mouth_box, mouth_opening=opening)
  print(f"no mouth measurements: real faces need the extra `faces`; {face.INSTALL}", flush=True)
  return None


def judge_sync(family, truths: list[np.ndarray], openings: list[np.ndarray], note) -> None:
  """How sampled mouths follow the speech they were sampled from, and, as the baseline, another clip's speech."""
  from nwt_jax.talker.lips import best_lag, correlation

  for index, (truth, opening) in enumerate(zip(truths, openings, strict=True)):
    other = openings[index - 1] if len(openings) > 1 else UNKNOWN  # driven by another clip's speech
    note(f"{family}.mouth_corr", correlation(truth, opening))
    note(f"{family}.mouth_corr_shuffled", correlation(truth, other))
    note(f"{family}.mouth_lag_frames", best_lag(truth, opening))


def judge_looks(family, model, clips, samples, note) -> None:
  """Episode and style of sampled talker clips against the truth."""
  from nwt_jax.talker.clip import EPISODES
  from nwt_jax.talker.likeness import classify_episode, classify_style

  for index, (clip, sample) in enumerate(zip(clips, samples, strict=True)):
    if clip["episode"] not in EPISODES:  # held out of training: shown with the mean embedding, like none of them
      continue
    note(f"{family}.episode_accuracy", classify_episode(sample) == clip["episode"])
    # The style and the episode of this clip, the speech of the one before (its own where it is the only one).
    wanted, other = clip["truth"]["style"], clips[index - 1]
    copy = model.generate(other["audio"], 24_000, seed=index, episode=clip["episode"], style_from=clip["video"])
    got = classify_style(np.concatenate([chunk.frames for chunk in copy]), clip["episode"])
    note(f"{family}.style_copy_accuracy", got == wanted)
    for name in wanted:
      note(f"{family}.style_copy_accuracy.{name}", got[name] == wanted[name])
    note(f"{family}.style_real_accuracy", classify_style(clip["video"], clip["episode"]) == wanted)


def chances(talker: bool) -> dict:
  """Chance levels of the classifiers, which know the talker alone."""
  if not talker:
    return {}
  from nwt_jax.talker.likeness import EPISODE_CHANCE, STYLE_CHANCE

  exact = {"std": 0.0, "count": 0, "unknown": 0}
  return {"episode_chance": {"mean": EPISODE_CHANCE, **exact}, "style_chance": {"mean": STYLE_CHANCE, **exact}}


def summary(found: list[float | None]) -> dict:
  """Mean, standard deviation over clips, extremes and count of what is known; None each where nothing is."""
  known = [value for value in found if value is not None]
  measures = {"mean": np.mean, "std": np.std, "min": np.min, "max": np.max}
  values = {name: float(measure(known)) if known else None for name, measure in measures.items()}
  return {**values, "count": len(known), "unknown": len(found) - len(known)}


def table(metrics: dict) -> str:
  """The metrics for a terminal."""
  number = lambda value: f"{'unknown':>8s}" if value is None else f"{value:8.3f}"
  rows = [f"{'metric':38s} {'mean':>8s} {'std':>8s} {'count':>6s} {'unknown':>8s}"]
  rows += [
    f"{name:38s} {number(m['mean'])} {number(m['std'])} {m['count']:6d} {m['unknown'] or '':>8}"
    for name, m in sorted(metrics.items())
  ]
  return "\n".join(rows)
