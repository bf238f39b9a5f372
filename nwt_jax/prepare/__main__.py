"""Turns recordings of talking people into a data set for training (appendix D).

  python -m nwt_jax.prepare --input='videos/*.mp4' --episodes=clips.csv --output=data/mine
  python -m nwt_jax.prepare --input=addresses.txt --preset=lwt --output=data/lwt
  python -m nwt_jax.prepare --input=videos --output=data/mine --stop_after=examine
  python -m nwt_jax.prepare --talker=400 --height=64 --width=56 --output=data/talker

Each clip becomes frames of one size at 30 a second and the log-mel spectrogram of its sound. Clips that cannot be
trusted are left out; what a clip shows (no face, a cut, silence) is flagged, and decided on by review (the third
command) or --auto. Pictures are stretched to the size asked for: cut what has another shape with --crop. Given again,
the same command goes on where it was cut off.
"""

import functools
import hashlib
import json
import os
import sys
from pathlib import Path

from absl import flags

from nwt_jax import cli
from nwt_jax.errors import InputError

# PAPER: D.3, 507 to 1130 left to right and 0 to 712 from the bottom. GAP: of 1280 x 720, the one common size it fits
LWT_BOX = "623x712+507+8@1280x720"
PRESETS = {
  "": {"split_seconds": 0.0, "trim": False, "crop": "", "overlay_mask": False, "episodes": None},
  "lwt": {"split_seconds": 4.0, "trim": True, "crop": LWT_BOX, "overlay_mask": True, "episodes": "recordings"},
}
ENGINES = ("local", "beam")


def define_flags():
  """Defines this program's options; in a function, so that tests can import the file beside other programs."""
  flags.DEFINE_string(
    "input", None, "Recordings: a folder, a file, a quoted glob (** for sub-folders), or a list (.txt, .jsonl)."
  )
  flags.DEFINE_string("root", None, "The folder that files of a list must lie in; the list's own without it.")
  flags.DEFINE_integer("talker", None, "Instead of recordings: so many clips of the synthetic talker.", lower_bound=1)
  flags.DEFINE_string("output", None, "Folder to make; OUTPUT.work holds what is not finished, and downloads.")
  flags.DEFINE_enum("preset", "", list(PRESETS), "lwt: the paper's split, crop, trim, mask and episodes.")
  flags.DEFINE_string(
    "episodes", None, "CSV with the columns clip and episode (or session), optionally source; or: recordings."
  )
  flags.DEFINE_float("split_seconds", None, "Cut recordings at the first key frame after so long; 0: do not.", 0.0)
  flags.DEFINE_boolean("trim", None, "Take 0.25 s from both ends of clips longer than 2 s.")
  flags.DEFINE_string(
    "crop",
    None,
    "The part of pictures to keep: WIDTHxHEIGHT+LEFT+TOP in their pixels, with @WIDTHxHEIGHT at the end in those of a "
    "picture of that size; or face, or head.",
  )
  flags.DEFINE_boolean("overlay_mask", None, "Cover bright boxes beside the speaker with white (D.6).")
  flags.DEFINE_enum("interpolate", "repeat", ["repeat", "motion"], "How other frame rates become 30.")
  flags.DEFINE_boolean("faces", True, "Look for faces, and at the sound against the mouth (extra `faces`).")
  flags.DEFINE_list("auto", [], "Flags whose clips are dropped without asking, or: all.")
  flags.DEFINE_string("decisions", None, "decisions.json, saved from review.html.")
  flags.DEFINE_float("max_bad_fraction", 0.5, "Stop where more of the clips than this are at fault.", 0.0, 1.0)
  flags.DEFINE_enum("stop_after", "", ["", "acquire", "split", "examine"], "Only the steps up to this one.")
  flags.DEFINE_integer("height", 256, "Frame height in pixels.", lower_bound=16, upper_bound=4096)
  flags.DEFINE_integer("width", 224, "Frame width in pixels.", lower_bound=16, upper_bound=4096)
  flags.DEFINE_integer("fps", 30, "Frames per second.")
  flags.DEFINE_integer("seed", 0, "Chooses which clips go to which split, and the talker's performance.", lower_bound=0)
  flags.DEFINE_list("holdout_episodes", [], "Episodes that go to the test split whole.")
  flags.DEFINE_enum(
    "deal",
    "",
    ["", "recordings", "blocks"],
    "What goes to a split: whole recordings, or blocks of each with gaps between; without: blocks where whole "
    "recordings leave nothing to validate or test on.",
  )
  flags.DEFINE_enum(
    "image_format",
    "jpeg",
    ["jpeg", "png"],
    "How frames are stored: JPEG of quality 95, or lossless.",
  )
  flags.DEFINE_integer("records_per_shard", 32, "Clips in a file; a writer holds so many in memory.", lower_bound=1)
  flags.DEFINE_enum("engine", "local", ENGINES, "Where the work is done: here, or in an Apache Beam pipeline.")
  flags.DEFINE_string("beam_options", "", "Options for Beam, such as '--runner=FlinkRunner --flink_master=HOST:PORT'.")
  flags.DEFINE_integer("workers", os.cpu_count(), "Processes; the result is the same for any number.", lower_bound=1)
  flags.DEFINE_boolean("overwrite", False, "Replace a data set that is there.")


def main(argv):
  """Reads the flags and prepares. Args: argv: unused."""
  del argv
  options = flags.FLAGS
  if not options.output:
    raise InputError("--output=DIR is missing: the folder to make")
  same = (
    "talker", "root", "height", "width", "interpolate", "faces", "auto", "decisions", "max_bad_fraction", "stop_after",
    "fps", "seed", "deal", "image_format", "records_per_shard", "engine", "beam_options", "workers", "overwrite",
  )  # fmt: skip
  preset = PRESETS[options.preset]
  chosen = {name: preset[name] if options[name].value is None else options[name].value for name in preset}
  given = {name: options[name].value for name in same}
  prepare(options.output, pattern=options.input, holdout=options.holdout_episodes, **chosen, **given)


def prepare(
  output,
  pattern=None,
  talker=None,
  root=None,
  episodes=None,
  split_seconds=0.0,
  trim=False,
  crop="",
  overlay_mask=False,
  interpolate="repeat",
  faces=True,
  auto=(),
  decisions=None,
  max_bad_fraction=0.5,
  stop_after="",
  height=256,
  width=224,
  fps=30,
  seed=0,
  holdout=(),
  deal="",
  image_format="jpeg",
  records_per_shard=32,
  engine="local",
  beam_options="",
  workers=1,
  overwrite=False,
):
  """Makes a data set of clips; the whole program.

  Args: as the flags of the same names; pattern is --input, holdout is --holdout_episodes.
  Returns: the data set's metadata; None with `stop_after`.
  Raises: InputError: see the line it carries.
  Source: appendix D.
  """
  from nwt_jax.data import dataset, names
  from nwt_jax.io import audio, video
  from nwt_jax.metrics import face
  from nwt_jax.prepare import cache, pipeline
  from nwt_jax.prepare.engines.beam import Beam
  from nwt_jax.prepare.engines.local import Local
  from nwt_jax.prepare.examine import crops
  from nwt_jax.prepare.review import manifest, summary
  from nwt_jax.prepare.write import records, shards, splits

  if (pattern is None) == (talker is None):
    raise InputError("give either --input=RECORDINGS or --talker=N")
  if fps * audio.HOP * audio.MEL_FRAMES != audio.SAMPLE_RATE:
    raise InputError(f"--fps={fps}: the models hear four mel rows a frame, which is 30 frames a second; leave it out")
  crop, holdout = crops.parse(crop), [names.plain(name) for name in holdout]
  picture = records.Picture(height, width, fps, image_format, overlay_mask, interpolate)
  auto, decided = manifest.read_auto(auto), manifest.read_decisions(decisions) if decisions else {}
  request = [dataset.FORMAT, vars(picture), records_per_shard, seed, sorted(holdout), sorted(auto), decided]
  request += [deal] if deal else []
  if talker is not None:
    given = {"episodes": episodes, "crop": crop, "split_seconds": split_seconds, "stop_after": stop_after, "deal": deal}
    if wrong := [name for name, value in given.items() if value]:
      raise InputError(
        f"--{wrong[0]} (or --preset) belongs to --input; the talker has episodes, clips and a size of its own"
      )
    request.append(talker)
  else:
    look = pipeline.Look(trim, faces and face.available())
    if crop in crops.FRAMINGS and not look.faces:
      raise InputError(f"--crop={crop} looks for faces: leave --nofaces out, or {face.INSTALL}")
    outputs = (output, cache.work_of(output))
    box = video.Box.parse(crop) if crop and crop not in crops.FRAMINGS else None
    lines = box.picture[1] if isinstance(box, video.BoxOf) else None  # asked for of addresses
    wanted = pipeline.Wanted(os.fspath(pattern), root, episodes, split_seconds, outputs, deal, lines)
    found = pipeline.listed(wanted, _say)
    splits.check_holdout(found[1], holdout)  # before hours of looking at clips
    request += [crop, vars(look), pipeline.request(wanted, *found)]
  request = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
  if not overwrite and not stop_after and (done := _already(output, request)):
    lost = sum("could not be downloaded" in reason for reason in done["skipped"].values())
    _say(
      f"{output} already holds this data set; nothing to do"
      + (f" (--overwrite tries {lost} addresses again)" if lost else "")
    )
    return done
  if not stop_after:
    dataset.check_output(output, overwrite)
  with (
    cache.workplace(output) as work,
    Beam(beam_options.split(), work) if engine == "beam" else Local(workers) as runner,
  ):
    facts = {**vars(picture), "crop": crop, "seed": seed, "request": request}
    building = shards.Building(output, overwrite, work, picture, seed, holdout, records_per_shard, facts, deal)
    notes = []
    if talker is not None:
      clips, order = records.talker_clips(talker, seed)
      entries = [splits.Entry(clip.name, clip.episode, f"clip {clip.name}") for clip in clips]
      metadata = building.build(clips, entries, order, [], runner, lambda *_: None)
    else:
      pieces, rows = pipeline.gather(wanted, *found, work, workers, _say, stop_after)
      if stop_after in ("acquire", "split"):
        print(f"{len(pieces)} clips, {len(rows)} recordings lost; next: the same command without --stop_after")
        return None
      if faces and not look.faces:
        _say(f"faces, and sound against mouth, are not looked at: {face.INSTALL}")
      if unknown := sorted(set(decided) - {piece.clip.name for piece in pieces}):
        _say(f"{len(unknown)} decisions are for clips that are not here, {unknown[0]!r} first")
      rows += pipeline.look_at(pieces, look, work, runner, _say)
      given = {piece.clip.name: piece.clip.crop for piece in pieces}
      crops.choose(rows, given, crop, width / height, _say)
      pipeline.check_budget(rows, max_bad_fraction)
      pipeline.join_duplicates(rows)
      told = pipeline.compare(rows, pieces, look.faces, work if stop_after else Path(output), work, runner)
      notes = [*told.notes, *crops.notes(rows, crop, height)]
      for row in rows:
        row |= manifest.decide(row, decided, auto)
      if stop_after == "examine":
        print("\n".join([*notes, *pipeline.write_review(work, rows, told, found[1])]))
        return None
      clips = pipeline.kept_clips(rows, pieces)
      entries = pipeline.kept_entries(rows, pieces)
      tell = functools.partial(pipeline.tell, rows, pieces, told, found[1], work)
      metadata = building.build(clips, entries, sorted({entry.episode for entry in entries}), rows, runner, tell)
    cache.clear(work)
  print("\n".join([*notes, *summary.lines(output, metadata)]))
  return metadata


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
  cli.run(main)
