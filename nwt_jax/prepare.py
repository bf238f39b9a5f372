"""Turns raw clips of talking people into a data set for training (appendix D).

  python -m nwt_jax.prepare --input='videos/*.mp4' --episodes=clips.csv --output=data/mine
  python -m nwt_jax.prepare --talker=400 --height=64 --width=56 --output=data/talker

Each clip becomes frames of one size at 30 a second and the log-mel spectrogram of its sound. Pictures are stretched to
the size asked for: cut what has another shape with --crop.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

from absl import flags

from nwt_jax import program
from nwt_jax.errors import InputError


def define_flags():
  """Defines this program's options; in a function, so that tests can import the file beside other programs."""
  flags.DEFINE_string("input", None, "Videos: a folder, a file, or a quoted glob (** for sub-folders).")
  flags.DEFINE_integer("talker", None, "Instead of videos: so many clips of the synthetic talker.", lower_bound=1)
  flags.DEFINE_string("output", None, "Folder to make.")
  flags.DEFINE_string("episodes", None, "CSV with the columns clip and episode (or session), optionally source.")
  flags.DEFINE_string("crop", None, "The part of each picture to keep, WIDTHxHEIGHT+LEFT+TOP in pixels.")
  flags.DEFINE_integer("height", 256, "Frame height in pixels.", lower_bound=16, upper_bound=4096)
  flags.DEFINE_integer("width", 224, "Frame width in pixels.", lower_bound=16, upper_bound=4096)
  flags.DEFINE_integer("fps", 30, "Frames per second.")
  flags.DEFINE_integer("seed", 0, "Chooses which clips go to which split, and the talker's performance.", lower_bound=0)
  flags.DEFINE_list("holdout_episodes", [], "Episodes that go to the test split whole.")
  flags.DEFINE_enum("image_format", "jpeg", ["jpeg", "png"], "How frames are stored: JPEG of quality 95, or lossless.")
  flags.DEFINE_integer("workers", os.cpu_count(), "Processes; the result is the same for any number.", lower_bound=1)
  flags.DEFINE_boolean("overwrite", False, "Replace a data set that is there.")


def main(argv):
  """Reads the flags and prepares. Args: argv: unused."""
  del argv
  options = flags.FLAGS
  if not options.output:
    raise InputError("--output=DIR is missing: the folder to make")
  prepare(
    options.output,
    pattern=options.input,
    talker=options.talker,
    episodes=options.episodes,
    height=options.height,
    width=options.width,
    crop=options.crop,
    fps=options.fps,
    seed=options.seed,
    holdout=options.holdout_episodes,
    image_format=options.image_format,
    workers=options.workers,
    overwrite=options.overwrite,
  )


def prepare(
  output,
  pattern=None,
  talker=None,
  episodes=None,
  height=256,
  width=224,
  crop=None,
  fps=30,
  seed=0,
  holdout=(),
  image_format="jpeg",
  workers=1,
  overwrite=False,
):
  """Makes a data set of clips; the whole program.

  Args: as the flags of the same names; pattern is --input, holdout is --holdout_episodes.
  Returns: the data set's metadata.
  Raises: InputError: see the line it carries.
  Source: appendix D, steps 3 and 7 to 10.
  """
  from nwt_jax.data import builder, progress, sources, splits
  from nwt_jax.io import audio, video

  if (pattern is None) == (talker is None):
    raise InputError("give either --input=VIDEOS or --talker=N")
  if fps * audio.HOP * audio.MEL_FRAMES != audio.SAMPLE_RATE:
    raise InputError(f"--fps={fps}: the models hear four mel rows a frame, which is 30 frames a second; leave it out")
  picture = sources.Picture(height, width, fps, image_format, str(video.Box.parse(crop)) if crop else "")
  if talker is not None:
    if episodes:
      raise InputError("--episodes belongs to --input; the talker has episodes of its own")
    if crop:
      raise InputError("--crop belongs to --input; the talker is drawn at the size asked for")
    clips, order = sources.talker_clips(talker, seed)
    entries = [splits.Entry(clip.name, clip.episode, f"clip {clip.name}") for clip in clips]
    stamps = [f"talker {talker}"]
  else:
    files = sources.find_files(pattern)
    clips = [sources.FileClip(name, path) for name, path in files.items()]
    if episodes:
      entries = sources.read_episodes(episodes, files)
    else:
      entries = [splits.Entry(name, sources.DEFAULT_EPISODE, f"clip {name}") for name in files]
    order = sorted({entry.episode for entry in entries})
    stamps = [[name, os.path.getsize(path), os.stat(path).st_mtime_ns] for name, path in files.items()]
  request = [builder.FORMAT, stamps, [[e.name, e.episode, e.source] for e in entries], vars(picture)]
  request = hashlib.sha256(json.dumps([*request, seed, sorted(holdout)]).encode()).hexdigest()
  if not overwrite and (done := _already(output, request)):
    _say(f"{output} already holds this data set; nothing to do")
    return done
  builder.check_output(output, overwrite)

  skipped = {}
  if talker is None:
    skipped = sources.check_files(clips, workers)
    for reason in skipped.values():
      _say(f"left out: {reason}")
    if len(skipped) == len(clips):
      raise InputError(f"none of the {len(clips)} files can be used; the first: {next(iter(skipped.values()))}")
  dealt = splits.assign([entry for entry in entries if entry.name not in skipped], seed, holdout)
  home = {entry.name: entry.episode for entry in entries}
  known = {home[name] for name in dealt["train"]}
  order = [episode for episode in order if episode in known]
  by_name = {clip.name: clip for clip in clips}
  bar = progress.Progress("prepare", len(clips) - len(skipped))

  def report(name, reason):
    bar.step()
    if reason:
      skipped[name] = reason
      bar.say(f"left out: {reason}")

  def records(split):
    # An episode without training clips has no embedding: -1 asks for the mean one.
    jobs = [(by_name[name], order.index(home[name]) if home[name] in known else -1) for name in dealt[split]]
    return sources.make_records(jobs, picture, workers, report)

  def describe():
    return {
      **vars(picture),
      "sample_rate": audio.SAMPLE_RATE,
      "mel": audio.MEL_ARGUMENTS,
      "episodes": order,
      "holdout_episodes": sorted(set(home.values()) - known),
      "seed": seed,
      "skipped": {name: skipped[name] for name in sorted(skipped)},
      "request": request,
    }

  parts = {split: (len(dealt[split]), records(split)) for split in splits.SPLITS}
  metadata = builder.write_dataset(output, "clips", builder.clip_features(), parts, describe, 32, overwrite)
  bar.close()
  for line in summary(output, metadata):
    print(line)
  return metadata


def summary(output, metadata):
  """The lines that tell what was made. Args: output: folder. metadata: see prepare. Returns: list of str."""
  counts, frames = metadata["splits"], metadata["frames"]
  lines = [f"{output}: {metadata['width']} x {metadata['height']} frames, {len(metadata['episodes'])} episode(s)"]
  for split, count in counts.items():
    lines.append(f"  {split:10} {count:6} clips {frames[split] / metadata['fps'] / 60:8.1f} minutes")
  if empty := [split for split, count in counts.items() if not count]:
    lines.append(f"  too few recordings for: {', '.join(empty)}")
  if metadata["skipped"]:
    lines.append(f"  left out   {len(metadata['skipped']):6} clips; metadata.json says why")
  return [
    *lines,
    f"next: python -m nwt_jax.main --config=configs/dvae_lwt.py --config.data.path={output} --workdir=DIR",
  ]


def _already(output, request):
  try:
    metadata = json.loads((Path(output) / "metadata.json").read_text())
    return metadata if metadata["request"] == request else None
  except (OSError, ValueError, KeyError, TypeError):
    return None


def _say(text):
  print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
  define_flags()
  program.run(main)
