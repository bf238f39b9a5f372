"""Measures a checkpoint on clips it has not seen: reconstruction, lip sync, episodes, style (paper 3.3-3.6).

  python -m nwt_jax.evaluate --output=out/evaluation
  python -m nwt_jax.evaluate --checkpoint=runs/mar --data=data/mine --output=out/evaluation

Writes metrics.json, real_above_generated.png and real_beside_generated.mp4. Every value stands beside a baseline: the
episode's mean frame, another clip's speech, chance.
"""

import json
from pathlib import Path

import numpy as np
from absl import flags

from nwt_jax import program
from nwt_jax.data.splits import MEAN
from nwt_jax.errors import InputError

TEST_SEED = 1_000_003  # of the talker: no training set is drawn from it
BASELINE_CLIPS = 64  # training clips that the mean frame of an episode is taken over


def define_flags() -> None:
  """Defines this program's options; in a function, so that tests can import the file beside other programs."""
  flags.DEFINE_string(
    "checkpoint", "", "Folder with a dVAE and priors, or a training workdir; default: the shipped one."
  )
  flags.DEFINE_string(
    "data", "", "Prepared clips, whose test split is measured; default: talker clips of a fixed seed."
  )
  flags.DEFINE_string("output", None, "Folder for metrics.json and the pictures.")
  flags.DEFINE_integer("clips", 20, "How many clips, at most.", lower_bound=2)
  flags.DEFINE_list("families", [], "Priors to measure: mar, far; default: those that the checkpoint holds.")


def main(_) -> None:
  """Measures, prints a table, writes the files."""
  from nwt_jax.io import checkpoint
  from nwt_jax.io.place import check_folder

  folder = Path(flags.FLAGS.output)
  check_folder(folder, "output")
  directory = Path(flags.FLAGS.checkpoint) if flags.FLAGS.checkpoint else checkpoint.SHIPPED
  families = flags.FLAGS.families or [f for f in ("mar", "far") if has(directory, f)]
  if not families:
    raise InputError(f"checkpoint {directory} holds no prior; give a folder with mar.safetensors or far.safetensors")
  cards = [checkpoint.load_card(directory, family) for family in families]  # before jax and the models are loaded
  if flags.FLAGS.data:
    check_data(flags.FLAGS.data, cards[0])

  from nwt_jax import api

  folder.mkdir(parents=True, exist_ok=True)
  models = {family: api.NWT.from_checkpoint(directory, family) for family in families}
  first = next(iter(models.values()))
  clips = data_clips(flags.FLAGS.data) if flags.FLAGS.data else talker_clips(flags.FLAGS.clips, first)
  clips = clips[: flags.FLAGS.clips]
  if len(clips) < 2:
    raise InputError(f"{flags.FLAGS.data} has {len(clips)} test clips, wanted 2 or more; prepare more clips")
  baseline = data_means(flags.FLAGS.data) if flags.FLAGS.data else talker_means(first)
  metrics, pictures = measure(models, clips, baseline)
  (folder / "metrics.json").write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n")
  show(folder, clips, pictures, first.fps)
  print(table(metrics))
  print(f"{folder / 'metrics.json'}\n{folder / 'real_beside_generated.mp4'}")


def has(directory: Path, family: str) -> bool:
  """Whether the checkpoint holds the family."""
  from nwt_jax.io import checkpoint

  try:
    return bool(checkpoint.find_release(directory, family))
  except InputError:
    return False


def talker_clips(count: int, model) -> list[dict]:
  """New sentences by the synthetic talker, drawn at the model's size: video, audio, episode (name), truth."""
  from nwt_jax.data.talker import EPISODES, make_clip

  if not set(model.episodes) <= set(EPISODES):
    raise InputError("this checkpoint was not trained on the talker; give the clips to measure it on with --data")
  clips = [make_clip(TEST_SEED, i, model.height, model.width) for i in range(count)]
  known = {name: name for name in model.episodes}
  return [{"video": c.frames, "audio": c.audio, "episode": known.get(c.episode, MEAN), "truth": c.truth} for c in clips]


def talker_means(model) -> dict[str, np.ndarray]:
  """The mean frame of each episode over all styles, the mouth at rest."""
  import itertools

  from nwt_jax.data.talker import STYLES, still

  styles = [dict(zip(STYLES, values, strict=True)) for values in itertools.product(*STYLES.values())]
  means = {
    name: np.mean([still(name, style, model.height, model.width) for style in styles], axis=0)
    for name in model.episodes
  }
  means[MEAN] = np.mean(list(means.values()), axis=0)
  return {name: mean.round().astype(np.uint8) for name, mean in means.items()}


def check_data(path: str, card: dict) -> None:
  """Raises: InputError: no prepared clips, or frames of another size than the model's."""
  from nwt_jax.data.clips import Clips

  metadata, video = Clips(path, "test").metadata, card["video"]
  size, wanted = ((facts["height"], facts["width"]) for facts in (metadata, video))
  if size != wanted:
    raise InputError(f"{path} holds frames of {size[0]} x {size[1]}, the model makes {wanted[0]} x {wanted[1]}")


def data_clips(path: str) -> list[dict]:
  """The test split of prepared clips."""
  from nwt_jax.data.clips import Clips

  clips = Clips(path, "test")
  chosen = (clips[i] for i in range(min(len(clips), flags.FLAGS.clips)))
  return [{**clip, "episode": clips.episode_name(clip["episode"])} for clip in chosen]


def data_means(path: str) -> dict[str, np.ndarray]:
  """The mean frame of each episode over training clips; of all of them under "mean"."""
  from nwt_jax.data.clips import Clips

  clips = Clips(path, "train")
  names, sums = clips.metadata["episodes"], {}
  for i, row in enumerate(clips.index):
    found = sums.setdefault(names[row["episode"]], [])
    if len(found) < BASELINE_CLIPS:
      found.append(clips[i]["video"].mean(axis=0))
  means = {name: np.mean(frames, axis=0) for name, frames in sums.items()}
  means[MEAN] = np.mean(list(means.values()), axis=0)
  return {name: mean.round().astype(np.uint8) for name, mean in means.items()}


def measure(models: dict, clips: list[dict], baseline: dict[str, np.ndarray]) -> tuple[dict, dict]:
  """All metrics.

  Args: models: family -> NWT. clips: video uint8 [t h w 3], audio, episode (name), truth (dict or None). baseline: mean
    frame of each episode.
  Returns: name -> {mean, std, count, ...}, and for each family (and "recon") the generated clips.
  """
  from nwt_jax.measure.mouth import correlation
  from nwt_jax.measure.similarity import psnr, ssim

  first, values, pictures = next(iter(models.values())), {}, {}
  note = lambda name, value: values.setdefault(name, []).append(float(value))
  ruler, recons, truths = choose_ruler(clips), [], []
  for number, clip in enumerate(clips):
    video = clip["video"]
    recon = first.decode(first.encode(video), clip["episode"])
    recons.append(recon)
    note("ssim", ssim(video, recon).mean())
    note("psnr", psnr(video, recon).mean())
    still = np.broadcast_to(baseline[clip["episode"]], video.shape)
    note("ssim_episode_mean_frame", ssim(video, still).mean())
    if ruler:
      try:
        top, bottom, left, right = ruler.mouth_box(video)
      except InputError as error:
        print(f"test clip {number}: its mouth is not measured: {error}", flush=True)
        truths.append(None)
        continue
      crop = np.s_[:, top:bottom, left:right]
      note("ssim_mouth", ssim(video[crop], recon[crop]).mean())
      note("ssim_mouth_episode_mean_frame", ssim(video[crop], still[crop]).mean())
      read = ruler.mouth_opening(video)
      truths.append(clip["truth"]["opening"] if clip["truth"] else read)
      if clip["truth"]:
        note("mouth_corr_real", correlation(truths[-1], read))
      note("mouth_corr_recon", correlation(truths[-1], ruler.mouth_opening(recon)))
  pictures["recon"] = recons
  talker = all(clip["truth"] for clip in clips)
  for family, model in models.items():
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
  return {name: summary(found) for name, found in values.items()} | chances(talker), pictures


def choose_ruler(clips: list[dict]):
  """The module that measures mouths: of the talker's colours, or of face landmarks where that extra is installed."""
  from nwt_jax.measure import face, mouth

  if all(clip["truth"] for clip in clips):
    return mouth
  if face.available():
    return face
  print(f"no mouth measurements: real faces need the extra `faces`; {face.INSTALL}", flush=True)
  return None


def judge_sync(family, truths: list[np.ndarray | None], openings: list[np.ndarray], note) -> None:
  """How sampled mouths follow the speech they were sampled from, and, as the baseline, another clip's speech."""
  from nwt_jax.measure.mouth import best_lag, correlation

  for index, (truth, opening) in enumerate(zip(truths, openings, strict=True)):
    if truth is None:
      continue
    note(f"{family}.mouth_corr", correlation(truth, opening))
    note(f"{family}.mouth_corr_shuffled", correlation(truth, openings[index - 1]))  # driven by another clip's speech
    note(f"{family}.mouth_lag_frames", best_lag(truth, opening))


def judge_looks(family, model, clips, samples, note) -> None:
  """Episode and style of sampled talker clips against the truth."""
  from nwt_jax.data.talker import EPISODES
  from nwt_jax.measure.likeness import classify_episode, classify_style

  for index, (clip, sample) in enumerate(zip(clips, samples, strict=True)):
    if clip["episode"] not in EPISODES:  # held out of training: shown with the mean embedding, like none of them
      continue
    note(f"{family}.episode_accuracy", classify_episode(sample) == clip["episode"])
    # the style and the episode of this clip, the speech of the one before
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
  from nwt_jax.measure.likeness import EPISODE_CHANCE, STYLE_CHANCE

  exact = {"std": 0.0, "count": 0}
  return {"episode_chance": {"mean": EPISODE_CHANCE, **exact}, "style_chance": {"mean": STYLE_CHANCE, **exact}}


def summary(found: list[float]) -> dict:
  """Mean, standard deviation over clips, extremes and count."""
  return {
    "mean": float(np.mean(found)),
    "std": float(np.std(found)),
    "min": float(np.min(found)),
    "max": float(np.max(found)),
    "count": len(found),
  }


def table(metrics: dict) -> str:
  """The metrics for a terminal."""
  rows = [f"{'metric':38s} {'mean':>8s} {'std':>8s} {'count':>6s}"]
  rows += [f"{name:38s} {m['mean']:8.3f} {m['std']:8.3f} {m['count']:6d}" for name, m in sorted(metrics.items())]
  return "\n".join(rows)


def show(folder: Path, clips: list[dict], pictures: dict, fps: int) -> None:
  """Real above reconstruction above samples as a PNG; real beside them as an MP4 with sound."""
  from nwt_jax.train.pictures import side_by_side, write_grid, write_pairs

  few = range(min(4, len(clips)))
  write_grid(
    folder / "real_above_generated.png",
    [c for i in few for c in (clips[i]["video"], *(p[i] for p in pictures.values()))],
  )
  pairs = [(clips[i]["video"], side_by_side([p[i] for p in pictures.values()])) for i in few]
  write_pairs(folder / "real_beside_generated.mp4", pairs, [clips[i]["audio"] for i in few], fps)


if __name__ == "__main__":
  define_flags()
  program.run(main, "output")
