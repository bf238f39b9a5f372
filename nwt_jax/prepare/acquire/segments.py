"""Recordings cut at their key frames, without decoding them (appendix D.2)."""

import csv
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from nwt_jax.data.dataset import new_folder
from nwt_jax.errors import InputError
from nwt_jax.io import ffmpeg
from nwt_jax.io.disk import check_space
from nwt_jax.io.probe import probe
from nwt_jax.prepare.examine.decoding import prove_machine

# PAPER: D.2, segment_time: a segment ends at the first key frame after so many seconds. The program passes the value of
# --split_seconds instead, which is 0 (no cutting) unless the user or --preset=lwt sets it.
SECONDS = 4.0
_LIST = "pieces.csv"


class Segment(NamedTuple):
  """A segment of a recording, and where in it, in seconds, it begins."""

  path: Path
  start: float


def split(path: str | os.PathLike, folder: str | os.PathLike, seconds: float = SECONDS) -> list[Segment]:
  """Cuts a recording into segments that each start with a key frame; their clocks start at 0.

  The streams are copied, into Matroska files, which hold any codec. Segments of an earlier call are reused.

  Args: path: a recording. folder: holds the segments; it is made whole or not at all. seconds: least length of a
    segment.
  Returns: the segments in order.
  Raises: InputError: ffmpeg cannot cut the file. MachineError: ffmpeg can cut no file on this machine.
  Source: D.2."""
  folder = Path(folder)
  if not folder.exists():
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = new_folder(folder.parent, ".cutting-")
    try:
      _cut(path, part, seconds)
      os.rename(part, folder)
    finally:
      shutil.rmtree(part, ignore_errors=True)
  with open(folder / _LIST, newline="") as file:
    return [Segment(folder / name, float(start)) for name, start, _ in csv.reader(file)]


def _cut(path, folder, seconds):
  info = probe(path)
  if not info.has_video:
    raise InputError(f"{path} holds no picture stream; give a video file")
  sound = ["-map", "0:a:0"] if info.has_audio else []
  cut = ["-f", "segment", "-segment_time", f"{seconds:g}", "-segment_format", "matroska", "-reset_timestamps", "1"]
  cut += ["-avoid_negative_ts", "disabled"]  # else times in the list are late by what an encoder puts before the sound
  cut += ["-segment_list", f"file:{folder / _LIST}", "-segment_list_type", "csv"]
  target = f"file:{str(folder).replace('%', '%%')}/%05d.mkv"
  with tempfile.TemporaryFile() as log:
    # Where packets do not say when they are shown (AVI, MPEG-PS), that follows from when they are decoded.
    command = [*ffmpeg.QUIET, "-fflags", "+genpts", *ffmpeg.source(path), "-map", "0:V:0", *sound, "-c", "copy"]
    status, _ = ffmpeg.run([*command, *cut, target], log, keep_output=False)
    if status or not any(folder.glob("*.mkv")):
      check_space(folder)  # before the file is blamed
      prove_machine()
      raise InputError(f"{path} cannot be cut at its key frames: {ffmpeg.first_error(log, path)}")
