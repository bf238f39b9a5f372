"""Measures a checkpoint on clips it has not seen: reconstruction, lip sync, episodes, style (paper 3.3-3.6).

  python -m nwt_jax.evaluate --output=out/evaluation
  python -m nwt_jax.evaluate --checkpoint=runs/mar --data=data/mine --output=out/evaluation
  python -m nwt_jax.evaluate --checkpoint=runs/dvae --data=data/mine --output=out/reconstruction

A dVAE alone (the last line, or --families=dvae) is measured by its reconstructions. Writes metrics.json,
real_above_generated.png and real_beside_generated.mp4. Every value stands beside a baseline: the episode's mean frame,
another clip's speech, chance. A mouth that is not found, or does not move, is unknown, and no part of a mean.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from nwt_jax import cli
from nwt_jax.errors import InputError
from nwt_jax.metrics import evaluation
from nwt_jax.names import MEAN, SPLITS

TEST_SEED = 1_000_003  # of the talker: no training set is drawn from it
BASELINE_CLIPS = 64  # training clips that the mean frame of an episode is taken over
HELD_OUT = ("test", "validation")  # splits that no training sees; the first that has clips is measured


def define_flags() -> None:
  """Defines this program's options; in a function, so that tests can import the file beside other programs."""
  flags.DEFINE_string(
    "checkpoint", "", "Folder with a dVAE and, or not, priors, or a training workdir; default: the shipped one."
  )
  flags.DEFINE_string("data", "", "Prepared clips to measure on; default: talker clips of a fixed seed.")
  flags.DEFINE_enum(
    "split", None, SPLITS, "Split of --data; default: test, or validation where test is empty. Training sees train."
  )
  flags.DEFINE_string("output", None, "Folder for metrics.json and the pictures.")
  flags.DEFINE_integer("clips", 20, "How many clips, at most.", lower_bound=1)
  flags.DEFINE_list(
    "families", [], "Priors to measure: mar, far; dvae: reconstruction alone; default: what the checkpoint holds."
  )


def main(_: Any) -> None:
  """Measures, prints a table, writes the files."""
  from nwt_jax.io import release
  from nwt_jax.io.disk import check_folder

  folder = Path(flags.FLAGS.output)
  check_folder(folder, "output")
  data, directory = flags.FLAGS.data, Path(flags.FLAGS.checkpoint or release.SHIPPED)
  if flags.FLAGS.split and not data:
    raise InputError(f"--split={flags.FLAGS.split} chooses clips of a data set; give it with --data")
  families = choose_families(directory, flags.FLAGS.families)  # before jax and the models are loaded
  cards = [release.load_card(directory, family) for family in families]
  split = choose_split(data, flags.FLAGS.split) if data else ""
  if data:
    check_size(data, cards[0])
  models = load(directory, families)
  first = next(iter(models.values()))
  clips = data_clips(data, split) if data else talker_clips(flags.FLAGS.clips, first)
  clips = with_known_episodes(clips[: flags.FLAGS.clips], first.episodes)
  baseline = data_means(data) if data else talker_means(first)
  metrics, pictures = evaluation.measure(models, clips, baseline)
  facts = measured_on(data, split, len(clips))
  text = json.dumps({"measured_on": facts, **metrics}, indent=1, sort_keys=True)
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "metrics.json").write_text(text + "\n")
  show(folder, clips, pictures, first.fps)
  print(f"{heading(facts)}\n{evaluation.table(metrics)}")
  print(f"{folder / 'metrics.json'}\n{folder / 'real_beside_generated.mp4'}")


def measured_on(data: str, split: str, count: int) -> dict:
  """Describes the clips behind the numbers, for metrics.json. Args: data, split: empty for clips of the talker."""
  facts = {"data": data or f"the talker, seed {TEST_SEED}", "split": split or None, "clips": count}
  return {**facts, "seen_in_training": split not in ("", *HELD_OUT)}


def heading(facts: dict) -> str:
  """The same above the table."""
  clips = f"{facts['clips']} clip{'' if facts['clips'] == 1 else 's'} of {facts['data']}"
  split = f", split {facts['split']}" if facts["split"] else ""
  return (
    clips
    + split
    + (": SEEN IN TRAINING of models of this data, so nothing follows for other clips" * facts["seen_in_training"])
  )


def choose_families(directory: Path, asked: list[str]) -> list[str]:
  """The models to measure: the priors that are asked for or are there; without any the dVAE alone."""
  priors = ("mar", "far")
  if unknown := sorted(set(asked) - {*priors, "dvae"}):
    raise InputError(
      f"--families has {unknown[0]!r}; choose from {', '.join(priors)}, or dvae for reconstruction alone"
    )
  chosen = [family for family in priors if (family in asked if asked else has(directory, family))]
  return chosen or ["dvae"]


def load(directory: Path, families: list[str]) -> dict:
  """The models, by family."""
  from nwt_jax.api import NWT

  of = lambda family: NWT.from_dvae(directory) if family == "dvae" else NWT.from_checkpoint(directory, family)
  return {family: of(family) for family in families}


def choose_split(path: str | Path, asked: str | None) -> str:
  """The split to measure: the one asked for, else the first that training does not see and that has clips."""
  from nwt_jax.data.clips import Clips

  sizes = {split: len(Clips(path, split)) for split in SPLITS}
  there = ", ".join(f"{split} {size}" for split, size in sizes.items())
  for split in [asked] if asked else HELD_OUT:
    if sizes[split]:
      if split != (asked or HELD_OUT[0]):
        print(f"{path} has no clips for {HELD_OUT[0]}: measured on {split}", flush=True)
      return split
  if asked:
    raise InputError(f"{path} has no clips in --split={asked} ({there}); choose another")
  raise InputError(
    f"{path} holds no clips out of training ({there}): prepare it from two recordings or more, or with its one "
    "recording dealt in blocks (`python -m nwt_jax.prepare --help`); --split=train measures on what training saw"
  )


def has(directory: Path, family: str) -> bool:
  """Returns whether the checkpoint holds the family."""
  from nwt_jax.io import release

  try:
    return bool(release.find_release(directory, family))
  except InputError:
    return False


def talker_clips(count: int, model: Any) -> list[dict]:
  """New sentences by the synthetic talker, drawn at the model's size: video, audio, episode (name), truth."""
  from nwt_jax.talker.clip import EPISODES, make_clip

  if not set(model.episodes) <= set(EPISODES):
    raise InputError("this checkpoint was not trained on the talker; give the clips to measure it on with --data")
  clips = [make_clip(TEST_SEED, i, model.height, model.width) for i in range(count)]
  known = {name: name for name in model.episodes}
  return [{"video": c.frames, "audio": c.audio, "episode": known.get(c.episode, MEAN), "truth": c.truth} for c in clips]


def talker_means(model: Any) -> dict[str, np.ndarray]:
  """The mean frame of each episode over all styles, the mouth at rest."""
  import itertools

  from nwt_jax.talker.clip import STYLES, still

  styles = [dict(zip(STYLES, values, strict=True)) for values in itertools.product(*STYLES.values())]
  means = {
    name: np.mean([still(name, style, model.height, model.width) for style in styles], axis=0)
    for name in model.episodes
  }
  means[MEAN] = np.mean(list(means.values()), axis=0)
  return {name: mean.round().astype(np.uint8) for name, mean in means.items()}


def check_size(path: str, card: dict) -> None:
  """Raises: InputError: no prepared clips, or frames of another size than the model's."""
  from nwt_jax.data.clips import Clips

  metadata, video = Clips(path, "train").metadata, card["video"]
  size, wanted = ((facts["height"], facts["width"]) for facts in (metadata, video))
  if size != wanted:
    raise InputError(f"{path} holds frames of {size[0]} x {size[1]}, the model makes {wanted[0]} x {wanted[1]}")


def data_clips(path: str, split: str = HELD_OUT[0]) -> list[dict]:
  """Clips from all over a split of prepared ones."""
  from nwt_jax.data.clips import Clips, spread

  clips = Clips(path, split)
  chosen = (clips[i] for i, _ in spread(clips.index, flags.FLAGS.clips, 1))
  return [{**clip, "episode": clips.episode_name(clip["episode"])} for clip in chosen]


def data_means(path: str) -> dict[str, np.ndarray]:
  """The mean frame of each episode over training clips; of all of them under "mean"."""
  from nwt_jax.data.clips import Clips, spread

  clips = Clips(path, "train")
  names, sums = clips.metadata["episodes"], {}
  for i, _ in spread(clips.index, len(clips), 1):
    found = sums.setdefault(names[clips.index[i]["episode"]], [])
    if len(found) < BASELINE_CLIPS:
      found.append(clips[i]["video"].mean(axis=0))
  means = {name: np.mean(frames, axis=0) for name, frames in sums.items()}
  means[MEAN] = np.mean(list(means.values()), axis=0)
  return {name: mean.round().astype(np.uint8) for name, mean in means.items()}


def with_known_episodes(clips: list[dict], episodes: tuple[str, ...]) -> list[dict]:
  """Clips of episodes that the model was not trained on ask for its mean embedding."""
  if strangers := sorted({clip["episode"] for clip in clips} - {*episodes, MEAN}):
    print(f"episodes that the model does not know get its mean embedding: {', '.join(strangers)}", flush=True)
  return [{**clip, "episode": MEAN if clip["episode"] in strangers else clip["episode"]} for clip in clips]


def show(folder: Path, clips: list[dict], pictures: dict, fps: int) -> None:
  """Real above reconstruction above samples as a PNG; real beside them as an MP4 with sound."""
  from nwt_jax.train.runtime.pictures import side_by_side, write_grid, write_pairs

  few = range(min(4, len(clips)))
  write_grid(
    folder / "real_above_generated.png",
    [c for i in few for c in (clips[i]["video"], *(p[i] for p in pictures.values()))],
  )
  pairs = [(clips[i]["video"], side_by_side([p[i] for p in pictures.values()])) for i in few]
  write_pairs(folder / "real_beside_generated.mp4", pairs, [clips[i]["audio"] for i in few], fps)


if __name__ == "__main__":
  define_flags()
  cli.run(main, "output")
