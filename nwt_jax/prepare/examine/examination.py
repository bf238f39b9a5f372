"""Examines clips for damage and unwanted content, which the paper's authors did by hand (appendix D.5).

Faults and flags are explained in prepare/clip.py.
"""

import base64
import functools
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from nwt_jax.errors import InputError, MachineError
from nwt_jax.io import ffmpeg
from nwt_jax.io.probe import probe
from nwt_jax.io.progress import Progress
from nwt_jax.prepare.cache import CACHE, PICTURES, ResultCache, file_stamp, picture_of, short_hash
from nwt_jax.prepare.clip import ClipRecord, log_faults
from nwt_jax.prepare.engines.beam import Beam
from nwt_jax.prepare.engines.local import Local
from nwt_jax.prepare.examine import decoding, duplicates, faces
from nwt_jax.prepare.options import ExamineOptions

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
# The fields of a ClipRecord that examination fills in: a line of OUTPUT.work's examined.jsonl holds these.
FIELDS = (
  "fault", "reason", "flags", "facts", "start", "length", "print", "shown", "strip", "heads", "shape"
)  # fmt: skip
_TOO_LONG = f"{{path}} is longer than {decoding.MAX_SECONDS:.0f} s; cut it with --split_seconds"


class _Fault(Exception):
  """A fault of a clip: one of FAULTS, and the line that explains it."""


def examine_all(
  clips: Sequence[ClipRecord], options: ExamineOptions, work: Path, engine: Local | Beam, log: Callable
) -> list[ClipRecord]:
  """Step 5 (and the trim of 4): examines every clip that has a file.

  Args: work: OUTPUT.work, which receives the strips of pictures. Returns: the clips without a file, then the others.
  """
  lost, clips = [clip for clip in clips if not clip.path], [clip for clip in clips if clip.path]
  if not clips:
    return lost
  cache, bar = ResultCache(work / CACHE), Progress("examine", len(clips))
  jobs = [(clip, options, str(picture_of(work, clip.name))) for clip in clips]
  keys = [short_hash("examine", _key(*job), *file_stamp(job[0].path)) for job in jobs]
  (work / PICTURES).mkdir(parents=True, exist_ok=True)
  # Clips at fault are examined again: the machine may have been the cause.
  found = cache.map(engine, _examine_job, jobs, keys, bar.step, lambda fields: not fields["fault"])
  bar.close()
  examined = []
  for clip, fields in zip(clips, found, strict=True):
    if clip.path != clip.origin:  # a segment, or a download
      fields = fields | {"reason": fields["reason"].replace(clip.path, f"{clip.origin} from {clip.begin:.2f} s")}
    examined.append(replace(clip, **fields))
  log_faults(examined, log)
  return [*lost, *examined]


def _key(clip, options, picture):
  """Returns a job as text: the key of results in OUTPUT.work, so it must not change."""
  options_text = f"Look(trim={options.trim!r}, faces={options.faces!r}, piece={clip.segment!r})"
  return f"({clip.path!r}, {options_text}, {clip.start!r}, {clip.length!r}, {picture!r})"


def _examine_job(job):
  """Examines a clip and writes its strip of pictures. Returns: the FIELDS of the examined clip, ready for JSON."""
  clip, options, target = job
  clip, picture = examine(clip, options)
  if picture:
    part = f"{target}.{os.getpid()}"
    Path(part).write_bytes(picture)
    os.replace(part, target)
  return {name: getattr(clip, name) for name in FIELDS}


def examine(clip: ClipRecord, options: ExamineOptions) -> tuple[ClipRecord, bytes]:
  """Examines one clip: decodes it, looks at its pictures, listens, and trims it.

  Returns: the clip with its FIELDS filled in, ready for JSON (`facts` has sha256, duration, frames, fps, width, height,
    sample_rate, faces: their numbers, first: the time of the first picture); and a strip of its pictures as a JPEG,
    empty for a clip at fault.
  Raises: MachineError: the cause of a failure may be the machine.
  """
  found = {"flags": [], "facts": {}}  # filled in as far as a clip with a fault goes
  try:
    return _examine(clip, options, found)
  except _Fault as fault:
    return replace(clip, **found).with_fault(*fault.args), b""
  except InputError as error:
    decoding.prove_machine()  # before the file is blamed
    return replace(clip, **found).with_fault("unreadable", str(error)), b""


def _examine(clip, options, fields):
  path = ffmpeg.check_file(clip.path, "video")
  facts, flags = fields["facts"], fields["flags"]
  facts["sha256"] = _sha256(path)
  info = probe(path)
  facts |= {"fps": info.fps, "width": info.width, "height": info.height, "sample_rate": info.sample_rate}
  found = _decode(path, info, clip)
  start, length = clip.start, clip.length
  if clip.segment and found.first - found.first_sound > START_GAP:
    # Pictures shown before the key frame of an open group are predicted from the segment before.
    fields["start"] = start = found.first_sound = found.first
  _check_times(path, found)
  duration = min(found.last, length or found.last) - (start - clip.start)
  facts |= {"frames": len(found.grey), "duration": round(duration, 6), "first": round(found.first, 6)}
  _check_pictures(path, found)
  if info.hdr:
    flags.append("hdr")
  flags += _flags(found, duration)
  fingerprint = base64.b64encode(duplicates.fingerprint(found.audio).tobytes()).decode()
  heads, shape = [], ""
  if options.faces:
    heads, shape = faces.find(found.pictures)
    facts["faces"] = [len(some) for some in heads]
    flags += faces.flags(facts["faces"])
  length = facts["duration"]
  if options.trim and length > TRIM_ABOVE:
    start, length = start + TRIM, length - 2 * TRIM
  seen = {"shown": list(info.shown), "strip": len(found.pictures), "heads": heads, "shape": shape}
  clip = replace(clip, **fields | {"start": start, "length": length, "print": fingerprint} | seen)
  return clip, _strip(found.pictures)


def _decode(path, info, clip):
  """Decodes pictures and sound. Raises: _Fault: one of them is missing or damaged."""
  if not info.has_video:
    raise _Fault("no_picture", f"{path} holds no picture stream; give a video file")
  if not info.has_audio:
    raise _Fault("no_sound", f"{path} holds no sound stream; give a recording with sound")
  if (clip.length or info.duration - clip.start) > decoding.MAX_SECONDS:  # what the header claims is enough to refuse
    raise _Fault("too_large", _TOO_LONG.format(path=path))
  try:
    found = decoding.decode(path, info, clip.start, clip.length, clip.segment)
  except decoding.Damaged as error:
    raise _Fault("damaged", f"{path} is damaged: {error}") from None
  if not len(found.grey):
    raise _Fault("no_picture", f"{path} holds no frames (its picture stream is empty); give a video with frames")
  if not len(found.audio):
    raise _Fault("no_sound", f"{path} holds no samples (its sound stream is empty); give a recording with sound")
  return found


def _check_times(path, found):
  """Checks that sound and picture begin and end together, and are not too long."""
  message = "{path}: the sound {does} {by:+.2f} s after the picture; put its streams together"
  if abs(by := found.first_sound - found.first) > START_GAP:
    raise _Fault("out_of_sync", message.format(path=path, does="starts", by=by))
  if abs(by := found.last_sound - found.last) > END_GAP:
    raise _Fault("out_of_sync", message.format(path=path, does="ends", by=by))
  if found.last > decoding.MAX_SECONDS:  # the header did not say
    raise _Fault("too_large", _TOO_LONG.format(path=path))


def _check_pictures(path, found):
  """Checks that the decoder made up no picture: a stream that starts between key frames decodes, without an error, to
  grey until the next key frame."""
  grey = found.grey.astype(np.float32)
  mean, deviation = grey.mean(axis=(1, 2)), grey.std(axis=(1, 2))
  made_up = (deviation < _FLAT) & (mean > _GREY[0]) & (mean < _GREY[1])
  if made_up[0] and not made_up.all():
    change = np.abs(np.diff(grey, axis=0)).mean(axis=(1, 2))
    until = int(np.argmax(change)) + 1
    raise _Fault("mid_group", f"{path} starts between key frames: its first {until} pictures are grey; cut it at one")


def _flags(found, seconds):
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
  """Returns the pictures side by side, as a JPEG."""
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
  """Returns the hash of a file; it is cached, because many parts of one file are examined."""
  try:
    with open(path, "rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()
  except OSError as error:
    raise MachineError(f"{path} cannot be read ({error.strerror}); see to its disk, or leave it out") from error
