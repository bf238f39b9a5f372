"""Can a clip be trusted, and what does it show? What the paper's authors looked at by hand (appendix D.5).

Two kinds of answers. A fault is the file's: it cannot be decoded, is damaged, lacks sound, is out of sync; such a clip
is rejected. A flag is about what it shows (no face, a cut, silence): the clip is kept until somebody decides otherwise.
"""

import base64
import functools
import hashlib
import re
from dataclasses import dataclass

import cv2
import numpy as np

from nwt_jax.errors import InputError, MachineError
from nwt_jax.io import ffmpeg
from nwt_jax.io.probe import probe
from nwt_jax.prepare.examine import decoding, duplicates, faces

FAULTS = {
  "unreadable": "no video file, or none that decodes",
  "damaged": "the decoder finds errors",
  "mid_group": "starts between key frames: grey pictures until the next one",
  "no_picture": "no picture stream",
  "no_sound": "no sound stream",
  "out_of_sync": "sound and picture do not start or end together",
  "too_large": "more than can be taken in",
  "crop_outside": "the box to keep does not fit the picture",
}
FLAGS = {
  "no_face": "no face in half of the pictures looked at",
  "several_faces": "more than one face in two of the pictures looked at",
  "cut": "a cut inside",
  "frozen": "the picture stands still for a second",
  "black": "a black second, or half of the clip",
  "silent": "silence",
  "clipped": "sound beyond full scale",
  "cancelled": "the sound's channels cancel: one of them is taken",
  "sync": "the sound does not come with the mouth",
  "duplicate": "another clip is the same recording",
  "hdr": "high dynamic range, brought to the standard one",
  "face_outside": "the face leaves the part of the picture that is kept",
}
REASONS = (  # PAPER: D.5
  "subject is not in frame",
  "subject is holding objects",
  "other persons visible",
  "overlay inserted in post production",
  "title screen transition",
  "subject is not sitting at the desk",
)
TRIM, TRIM_ABOVE = 0.25, 2.0  # PAPER: D.4, seconds
START_GAP, END_GAP = 0.3, 0.5  # seconds that sound and picture may start and end apart
_GREY, _FLAT = (120.0, 136.0), 2.0  # mean and deviation of a picture that the decoder made up
_TOO_LONG = f"{{path}} is longer than {decoding.MAX_SECONDS:.0f} s; cut it with --split_seconds"


@dataclass(frozen=True)
class Look:
  """What to examine for. What is kept of the picture is decided later, see crops.py, so that it may change.
  piece: of a file that was cut at key frames; it begins with the first picture that decodes."""

  trim: bool
  faces: bool
  piece: bool = False


def examine(path: str, look: Look, start: float = 0.0, length: float | None = None) -> dict:
  """Examines one clip.

  Args: path: a file. start, length: the part of it that is the clip, seconds; None: to the end.
  Returns: JSON-ready: fault and reason ("" for none); flags; facts (sha256, duration, frames, fps, width, height,
    sample_rate, faces, first: when the first picture is shown); start, length (s, trimmed); shown, width and height of
    the picture, pixels; strip, pictures in it; heads and shape, see faces.look; print, the sound's fingerprint in
    base64; but for picture, a strip as the bytes of a JPEG.
  Raises: MachineError: what went wrong may not be the file's fault.
  """
  row = {"fault": "", "reason": "", "flags": [], "facts": {}, "start": start, "length": length}
  row |= {"picture": b"", "print": "", "shown": [0, 0], "strip": 0, "heads": [], "shape": ""}
  try:
    _examine(path, look, row)
  except _Fault as fault:
    row["fault"], row["reason"] = fault.args
  except InputError as error:
    decoding.prove_machine()  # before the file is blamed
    row["fault"], row["reason"] = "unreadable", str(error)
  return row


class _Fault(Exception):
  pass


def _examine(path, look, row):
  path = ffmpeg.check_file(path, "video")
  row["facts"]["sha256"] = _sha256(path)
  info = probe(path)
  row["facts"] |= {"fps": info.fps, "width": info.width, "height": info.height, "sample_rate": info.sample_rate}
  if not info.has_video:
    raise _Fault("no_picture", f"{path} holds no picture stream; give a video file")
  if not info.has_audio:
    raise _Fault("no_sound", f"{path} holds no sound stream; give a recording with sound")
  start, length = row["start"], row["length"]
  claim = length or info.duration - start
  if claim > decoding.MAX_SECONDS:  # what the header claims is enough to refuse
    raise _Fault("too_large", _TOO_LONG.format(path=path))
  try:
    found = decoding.decode(path, info, start, length, look.piece)
  except decoding.Damaged as error:
    raise _Fault("damaged", f"{path} is damaged: {error}") from None
  if not len(found.grey):
    raise _Fault("no_picture", f"{path} holds no frames (its picture stream is empty); give a video with frames")
  if not len(found.audio):
    raise _Fault("no_sound", f"{path} holds no samples (its sound stream is empty); give a recording with sound")
  if look.piece and found.first - found.first_sound > START_GAP:
    # Pictures shown before the key frame of an open group are predicted from the piece before.
    row["start"] = found.first_sound = found.first
  _check_times(path, found)
  duration = min(found.last, length or found.last) - (row["start"] - start)
  row["facts"] |= {"frames": len(found.grey), "duration": round(duration, 6), "first": round(found.first, 6)}
  _check_pictures(path, found)
  if info.hdr:
    row["flags"].append("hdr")
  row["flags"] += _look_at(found, duration)
  row["print"] = base64.b64encode(duplicates.fingerprint(found.audio).tobytes()).decode()
  row["picture"] = _strip(found.pictures)
  row["shown"], row["strip"] = list(info.shown), len(found.pictures)
  if look.faces:
    row["heads"], row["shape"] = faces.look(found.pictures)
    row["facts"]["faces"] = [len(some) for some in row["heads"]]
    row["flags"] += faces.flags(row["facts"]["faces"])
  row["length"] = duration = row["facts"]["duration"]
  if look.trim and duration > TRIM_ABOVE:
    row["start"], row["length"] = row["start"] + TRIM, duration - 2 * TRIM


def _check_times(path, found):
  """Sound and picture must begin and end together, and not take too long."""
  apart = "{path}: the sound {does} {by:+.2f} s after the picture; put its streams together"
  if abs(by := found.first_sound - found.first) > START_GAP:
    raise _Fault("out_of_sync", apart.format(path=path, does="starts", by=by))
  if abs(by := found.last_sound - found.last) > END_GAP:
    raise _Fault("out_of_sync", apart.format(path=path, does="ends", by=by))
  if found.last > decoding.MAX_SECONDS:  # the header did not say
    raise _Fault("too_large", _TOO_LONG.format(path=path))


def _check_pictures(path, found):
  """A stream that starts between key frames decodes, without an error, to grey until the next one."""
  grey = found.grey.astype(np.float32)
  mean, deviation = grey.mean(axis=(1, 2)), grey.std(axis=(1, 2))
  made_up = (deviation < _FLAT) & (mean > _GREY[0]) & (mean < _GREY[1])
  if made_up[0] and not made_up.all():
    change = np.abs(np.diff(grey, axis=0)).mean(axis=(1, 2))
    until = int(np.argmax(change)) + 1
    raise _Fault("mid_group", f"{path} starts between key frames: its first {until} pictures are grey; cut it at one")


def _look_at(found, seconds):
  flags, log = [], found.log
  grey = found.grey.astype(np.float32)
  if re.search(r"lavfi\.scd\.time", log):
    flags.append("cut")
  if "freeze_start" in log or found.stall > decoding.STILL or np.abs(np.diff(grey, axis=0)).max(initial=0) == 0:
    flags.append("frozen")
  black = sum(float(found) for found in re.findall(r"black_duration:\s*([\d.]+)", log))
  if black >= min(1.0, seconds / 2):
    flags.append("black")
  silence = sum(float(found) for found in re.findall(r"silence_duration:\s*([\d.]+)", log))
  if silence >= 0.9 * seconds or np.abs(found.audio).max(initial=0) < 10 ** (-50 / 20):
    flags.append("silent")
  if np.mean(np.abs(found.audio) > 0.999) > 0.005:
    flags.append("clipped")
  if found.cancelled:
    flags.append("cancelled")
  return flags


def _strip(pictures):
  """Pictures side by side, as a JPEG."""
  height = 96
  small = [
    cv2.resize(p, (max(1, p.shape[1] * height // p.shape[0]), height), interpolation=cv2.INTER_AREA) for p in pictures
  ]
  image = cv2.cvtColor(np.concatenate(small, axis=1), cv2.COLOR_RGB2BGR)
  return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def _sha256(path):
  found = path.stat()
  return _digest(str(path), found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest(path, *_):
  """Once for a file of which many parts are looked at."""
  try:
    with open(path, "rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()
  except OSError as error:
    raise MachineError(f"{path} cannot be read ({error.strerror}); see to its disk, or leave it out") from error
