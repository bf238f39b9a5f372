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

import os
from collections.abc import Sequence
from dataclasses import fields

from absl import flags

from nwt_jax import cli
from nwt_jax.errors import InputError
from nwt_jax.prepare import pipeline
from nwt_jax.prepare.options import ENGINES, PRESETS, STEPS, PrepareOptions


def define_flags() -> None:
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
  flags.DEFINE_enum("stop_after", "", STEPS, "Only the steps up to this one.")
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


def main(argv: Sequence[str]) -> None:
  """Reads the flags and prepares. Args: argv: unused."""
  del argv
  if not flags.FLAGS.output:
    raise InputError("--output=DIR is missing: the folder to make")
  given = {field.name: flags.FLAGS[field.name].value for field in fields(PrepareOptions)}
  preset = PRESETS[flags.FLAGS.preset]
  pipeline.prepare(PrepareOptions(**given | {name: value for name, value in preset.items() if given[name] is None}))  # ty: ignore[invalid-argument-type]


if __name__ == "__main__":
  define_flags()
  cli.run(main)
