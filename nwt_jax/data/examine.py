"""Can a clip be trusted, and what does it show? What the paper's authors looked at by hand (appendix D.5).

Two kinds of answers. A fault is the file's: it cannot be decoded, is damaged, lacks sound, is out of sync; such a clip
is rejected. A flag is about what it shows (no face, a cut, silence): the clip is kept until somebody decides otherwise.
"""

import base64
import functools
import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nwt_jax.data import duplicates, faces
from nwt_jax.errors import InputError
from nwt_jax.io import audio as sound
from nwt_jax.io import ffmpeg

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
  "sync": "the sound does not come with the mouth",
  "duplicate": "another clip is the same recording",
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
MAX_SECONDS = 300.0  # of one clip, because its frames are in memory together
START_GAP, END_GAP = 0.3, 0.5  # seconds that sound and picture may start and end apart
_GREY, _FLAT = (120.0, 136.0), 2.0  # mean and deviation of a picture that the decoder made up
_NO_TIME = -(2**63)  # ffmpeg's AV_NOPTS_VALUE
_PICTURES = 8  # looked at for faces and shown for review
_STILL, _CUT = 1.0, 7.0  # seconds; ffmpeg's scdet score, which heads that talk keep below 5
_LOOK = 64  # pixels: side of the small pictures
_FACE_HEIGHT = 480  # pixels: height at which faces are looked for


@dataclass(frozen=True)
class Look:
  """What to examine for. What is kept of the picture is decided later, see crops.py, so that it may change."""

  trim: bool
  faces: bool


def examine(path: str, look: Look, start: float = 0.0, length: float | None = None) -> dict:
  """Examines one clip.

  Args: path: a file. start, length: the part of it that is the clip, seconds; None: to the end.
  Returns: JSON-ready: fault and reason ("" for none); flags; facts (sha256, duration, frames, fps, width, height,
    sample_rate, faces, first: when the first picture is shown); start, length (s, trimmed); shown, width and height of
    the picture, pixels; strip, pictures in it; heads and shape, see faces.look; print, the sound's fingerprint in
    base64; but for picture, a strip as the bytes of a JPEG.
  """
  row = {"fault": "", "reason": "", "flags": [], "facts": {}, "start": start, "length": length}
  row |= {"picture": b"", "print": "", "shown": [0, 0], "strip": 0, "heads": [], "shape": ""}
  try:
    _examine(path, look, row)
  except _Fault as fault:
    row["fault"], row["reason"] = fault.args
  except InputError as error:
    row["fault"], row["reason"] = "unreadable", str(error)
  return row


class _Fault(Exception):
  pass


def _examine(path, look, row):
  path = ffmpeg.check_file(path, "video")
  row["facts"]["sha256"] = _sha256(path)
  info = ffmpeg.probe(path)
  row["facts"] |= {"fps": info.fps, "width": info.width, "height": info.height, "sample_rate": info.sample_rate}
  if not info.has_video:
    raise _Fault("no_picture", f"{path} holds no picture stream; give a video file")
  if not info.has_audio:
    raise _Fault("no_sound", f"{path} holds no sound stream; give a recording with sound")
  start, length = row["start"], row["length"]
  # What the header claims is enough to refuse; that it may claim too little is what limits are for.
  if (length or info.duration - start) > MAX_SECONDS:
    claim = length or info.duration - start
    raise _Fault("too_large", f"{path} is {claim:.0f} s long, more than {MAX_SECONDS:.0f}; cut it with --split_seconds")
  with tempfile.TemporaryDirectory(prefix="nwt-examine-") as folder:
    found = _decode(path, info, start, length, Path(folder))
  row["facts"] |= found.facts
  _check_pictures(path, found)
  row["flags"] += _look_at(found)
  row["print"] = base64.b64encode(duplicates.fingerprint(found.audio).tobytes()).decode()
  row["picture"] = _strip(found.pictures)
  row["shown"], row["strip"] = list(found.size), len(found.pictures)
  if look.faces:
    row["heads"], row["shape"] = faces.look(found.pictures)
    row["facts"]["faces"] = [len(some) for some in row["heads"]]
    row["flags"] += faces.flags(row["facts"]["faces"])
  seconds = found.facts["duration"]
  row["length"] = seconds
  if look.trim and seconds > TRIM_ABOVE:
    row["start"], row["length"] = start + TRIM, seconds - 2 * TRIM


@dataclass
class _Found:
  facts: dict
  grey: np.ndarray  # uint8 [t _LOOK _LOOK]
  pictures: np.ndarray  # uint8 RGB [n h w 3]
  size: tuple[int, int]  # width and height of the pictures as shown
  audio: np.ndarray  # float32 [samples]
  log: str
  stall: float  # longest time between two pictures, seconds


def _decode(path, info, start, length, folder):
  """One pass over the file: packets, small grey pictures, a few large ones, sound, and what ffmpeg's detectors say."""
  seconds = length or max(info.duration - start, 0.1)
  rate = min(_PICTURES / seconds, 30.0)
  detect = f"blackdetect=d=0.1:pix_th=0.1,freezedetect=n=-60dB:d={_STILL},scdet=t={_CUT}"
  large = f"fps={rate:.6f}:round=up,scale='max(1,round(iw*sar))':ih,scale=-2:'min({_FACE_HEIGHT},ih)',setsar=1"
  command = ["-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+info", "-xerror", "-err_detect", "explode"]
  command += [*ffmpeg.part(start, length), *ffmpeg.source(path)]
  command += [
    "-filter_complex",
    f"[0:V:0]split[a][b];[a]{detect},scale={_LOOK}:{_LOOK}:flags=area,format=gray[s];[b]{large}[l]",
  ]
  command += ["-map", "[s]", "-fps_mode", "passthrough", "-f", "rawvideo", folder / "grey"]
  command += [
    "-map",
    "[l]",
    "-frames:v",
    _PICTURES,
    "-f",
    "image2",
    "-c:v",
    "ppm",
    "-pix_fmt",
    "rgb24",
    folder / "%d.ppm",
  ]
  command += ["-map", "0:a:0", "-af", "silencedetect=n=-50dB:d=0.3,aresample=async=1:first_pts=0"]
  command += ["-ac", "1", "-ar", sound.SAMPLE_RATE, "-f", "s16le", folder / "sound"]
  command += ["-map", "0:V:0", "-map", "0:a:0", "-c", "copy", "-f", "framecrc", folder / "packets"]
  with open(folder / "log", "w+b") as log:
    status, _ = ffmpeg.run(command, log, keep_output=False)
    log.seek(0)
    text = log.read().decode("utf-8", "replace")
    errors = [line for line in text.splitlines() if re.search(r"\[(error|fatal|panic)\]", line)]
    # Of our own copy of the packets' clocks, not of the file.
    errors = [line for line in errors if "framecrc" not in line and "non monotonically" not in line]
    if status or errors:
      why = re.sub(r"\[[^\]]*\]\s*", "", errors[0]).strip() if errors else ffmpeg.last_words(log, path)
      raise _Fault("damaged", f"{path} is damaged: {why.replace(f'file:{path}', 'it')}")
  streams = _packets((folder / "packets").read_text())
  grey = np.fromfile(folder / "grey", np.uint8).reshape(-1, _LOOK, _LOOK)
  audio = sound.from_int16(np.fromfile(folder / "sound", np.int16))
  if not len(grey) or not streams.get(0):
    raise _Fault("no_picture", f"{path} holds no frames (its picture stream is empty); give a video with frames")
  if not len(audio) or not streams.get(1):
    raise _Fault("no_sound", f"{path} holds no samples (its sound stream is empty); give a recording with sound")
  files = sorted(folder.glob("*.ppm"), key=lambda file: int(file.stem))
  pictures = np.stack([cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files])
  size = (info.shown_width, info.height)
  if (pictures.shape[2] > pictures.shape[1]) != (size[0] > size[1]) and size[0] != size[1]:
    size = size[::-1]  # turned by the container
  (first, last, stall), (first_sound, last_sound, _) = streams[0], streams[1]
  first, first_sound = max(first, 0.0), max(first_sound, 0.0)  # what comes before 0 is decoded and not shown
  if abs(first - first_sound) > START_GAP:
    raise _Fault(
      "out_of_sync",
      f"{path}: the sound starts {first_sound - first:+.2f} s after the picture; put its streams together",
    )
  if abs(last - last_sound) > END_GAP:
    raise _Fault(
      "out_of_sync", f"{path}: the sound ends {last_sound - last:+.2f} s after the picture; put its streams together"
    )
  duration = min(last, seconds if length else last)
  if duration > MAX_SECONDS:  # the header did not say
    raise _Fault(
      "too_large", f"{path} is {duration:.0f} s long, more than {MAX_SECONDS:.0f}; cut it with --split_seconds"
    )
  facts = {"frames": len(grey), "duration": round(duration, 6), "first": round(first, 6)}
  return _Found(facts, grey, pictures, size, audio, text, stall)


def _packets(text):
  """Start, end and longest gap of each stream, in seconds, of ffmpeg's framecrc."""
  bases = {int(n): int(a) / int(b) for n, a, b in re.findall(r"^#tb (\d+): (\d+)/(\d+)", text, re.MULTILINE)}
  times, ends = {}, {}
  for line in text.splitlines():
    if line and line[0] != "#":
      stream, decoded, shown, duration, *_ = (int(part, 0) for part in line.split(",")[:4])
      # Where a packet does not say when it is shown, when it is decoded is near enough.
      time = next((time for time in (shown, decoded) if time != _NO_TIME), None)
      if time is not None:
        times.setdefault(stream, []).append(time * bases[stream])
        ends[stream] = max(ends.get(stream, -1e9), (time + duration) * bases[stream])
  stall = lambda stream: float(np.diff(np.sort([*times[stream], ends[stream]])).max())
  return {stream: (min(found), ends[stream], stall(stream)) for stream, found in times.items()}


def _check_pictures(path, found):
  """A stream that starts between key frames decodes, without an error, to grey until the next one."""
  grey = found.grey.astype(np.float32)
  mean, deviation = grey.mean(axis=(1, 2)), grey.std(axis=(1, 2))
  made_up = (deviation < _FLAT) & (mean > _GREY[0]) & (mean < _GREY[1])
  if made_up[0] and not made_up.all():
    change = np.abs(np.diff(grey, axis=0)).mean(axis=(1, 2))
    until = int(np.argmax(change)) + 1
    raise _Fault("mid_group", f"{path} starts between key frames: its first {until} pictures are grey; cut it at one")


def _look_at(found):
  flags, log, seconds = [], found.log, found.facts["duration"]
  grey = found.grey.astype(np.float32)
  if re.search(r"lavfi\.scd\.time", log):
    flags.append("cut")
  if "freeze_start" in log or found.stall > _STILL or np.abs(np.diff(grey, axis=0)).max(initial=0) == 0:
    flags.append("frozen")
  black = sum(float(found) for found in re.findall(r"black_duration:\s*([\d.]+)", log))
  if black >= min(1.0, seconds / 2):
    flags.append("black")
  silence = sum(float(found) for found in re.findall(r"silence_duration:\s*([\d.]+)", log))
  if silence >= 0.9 * seconds or np.abs(found.audio).max(initial=0) < 10 ** (-50 / 20):
    flags.append("silent")
  if np.mean(np.abs(found.audio) > 0.999) > 0.005:
    flags.append("clipped")
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
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
