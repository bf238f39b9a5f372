"""Clips, from a file or by the synthetic talker, and how each becomes a record (appendix D.3 to D.9)."""

import csv
import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nwt_jax.data import dataset
from nwt_jax.data.names import plain
from nwt_jax.errors import InputError, MachineError
from nwt_jax.io import audio as sound
from nwt_jax.io import ffmpeg, video
from nwt_jax.prepare.acquire.listing import SUFFIXES
from nwt_jax.prepare.examine.decoding import prove_machine
from nwt_jax.prepare.write import overlay
from nwt_jax.prepare.write.splits import Entry, no_episode

DEFAULT_EPISODE = "default"


@dataclass(frozen=True)
class Picture:
  """How frames are stored.

  height, width: pixels. fps: frames per second. image_format: "jpeg" or "png". overlay_mask: cover bright boxes (D.6).
  interpolate: how other frame rates become `fps`, "repeat" (repeat or drop frames) or "motion" (D.7).
  """

  height: int
  width: int
  fps: int
  image_format: str
  overlay_mask: bool = False
  interpolate: str = "repeat"


@dataclass(frozen=True)
class FileClip:
  """A clip that is a file, or a part of one: start and length in seconds, length None to its end; crop: a Box's text,
  or "" for all of the picture."""

  name: str
  path: str
  start: float = 0.0
  length: float | None = None
  crop: str = ""

  def read(self, picture):
    """Returns: frames uint8 RGB [t, h, w, 3], audio float32 [samples], truth None. Raises: InputError."""
    crop = video.Box.parse(self.crop) if self.crop else None
    part = {"start": self.start, "length": self.length}
    size = (None, None) if picture.overlay_mask else (picture.height, picture.width)  # D.6 comes before D.7
    frames = video.read_video(self.path, picture.fps, *size, crop, motion=picture.interpolate == "motion", **part)
    if picture.overlay_mask:
      shrinks = picture.height <= frames.shape[1] and picture.width <= frames.shape[2]
      method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
      frames = overlay.mask(frames, video.probe(self.path).shown[1])
      frames = np.stack([cv2.resize(frame, (picture.width, picture.height), interpolation=method) for frame in frames])
    return frames, sound.read_audio(self.path, **part), None


@dataclass(frozen=True)
class TalkerClip:
  """A clip that the synthetic talker performs; `episode` is one of the talker's."""

  name: str
  seed: int
  index: int
  episode: str

  def read(self, picture):
    """Returns: frames uint8 RGB [t, h, w, 3], audio float32 [samples], truth dict. Raises: InputError: no espeak-ng."""
    from nwt_jax.talker import clip as talker  # heavy, and needs an extra

    fps = float(picture.fps)
    clip = talker.make_clip(self.seed, self.index, picture.height, picture.width, fps, episode=self.episode)
    return clip.frames, clip.audio, clip.truth


def read_episodes(path, names: Iterable[str]) -> list[Entry]:
  """Looks up each clip's episode, and the recording it was cut from, in a table.

  Args: path: CSV with a header: `clip` (the clip's name or file name), `episode` (or `session`), optionally `source`;
    other columns are ignored. names: the clips.
  Returns: an Entry for each name; without a `source`, each clip is its own recording.
  Raises: InputError: no such file, a column is missing, or a clip is not in the table.
  """
  path = ffmpeg.check_file(path, "CSV")
  try:
    with open(path, newline="", encoding="utf-8-sig") as file:
      reader = csv.DictReader(file)
      columns = reader.fieldnames or []
      rows = list(reader)
  except (UnicodeDecodeError, csv.Error) as error:
    raise InputError(f"{path} is not a CSV table in UTF-8 ({error}); export it again") from error
  column = next((name for name in ("episode", "session") if name in columns), None)
  if "clip" not in columns or column is None:
    raise InputError(f"{path} has the columns {', '.join(columns)}; wanted `clip` and `episode` (or `session`)")
  table = {}
  for number, row in enumerate(rows, 2):
    row = {name: plain(text).strip() for name, text in row.items() if isinstance(text, str)}
    key, episode = row.get("clip", ""), row.get(column, "")
    if not key or not episode:
      raise InputError(f"{path} line {number} lacks its clip or {column}; fill it in, or delete the line")
    if why := no_episode(episode):
      raise InputError(f"{path} line {number}: {why}; rename it")
    if Path(key).suffix.lower() in SUFFIXES:
      key = Path(key).with_suffix("").as_posix()
    if key in table and table[key] != row:
      raise InputError(f"{path} line {number} names the clip {key!r} a second time; keep one of the lines")
    table[key] = row
  names = list(names)
  if missing := [name for name in names if plain(name) not in table]:
    raise InputError(f"{len(missing)} of {len(names)} clips are not in {path}, {missing[0]!r} first; add them to it")
  found = ((name, table[plain(name)]) for name in names)
  return [Entry(name, row[column], row.get("source") or f"clip {name}") for name, row in found]


def talker_clips(count: int, seed: int) -> tuple[list[TalkerClip], list[str]]:
  """Clips for the synthetic talker to perform, its episodes in turn.

  Args: count: clips. seed: names the performance. Returns: the clips, and all episode names in the talker's order.
  """
  from nwt_jax.talker import clip as talker

  clips = []
  for index in range(count):
    episode = talker.EPISODES[index % len(talker.EPISODES)]
    clips.append(TalkerClip(f"talker_{seed}_{index:05d}", seed, index, episode))
  return clips, list(talker.EPISODES)


def make_record(clip, episode: int, picture: Picture) -> dict:
  """Reads a clip and encodes it as a record (builder.clip_features).

  The sound is cut or padded with silence to the length of the picture, so that four mel rows belong to each frame.

  Raises: InputError: the clip cannot be read, or has no frame.
  """
  frames, audio, truth = clip.read(picture)
  samples = len(frames) * sound.SAMPLE_RATE // picture.fps
  audio = sound.to_int16(np.pad(audio[:samples], (0, max(0, samples - len(audio)))))
  return {
    "name": clip.name,
    "episode": episode,
    "frame_count": len(frames),
    "frames": [encode_image(frame, picture.image_format) for frame in frames],
    # From the rounded samples, so that log_mel of the stored sound is the stored mel.
    "mel": sound.log_mel(sound.from_int16(audio), len(frames)),
    "audio": audio,
    "truth": "" if truth is None else json.dumps(truth, sort_keys=True, allow_nan=False),
  }


def encode_image(frame, image_format: str) -> bytes:
  """One frame as JPEG (quality 95, colour at full resolution) or PNG. Args: frame: uint8 RGB [h, w, 3].

  GAP: the paper does not say how frames are stored."""
  image = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR)
  if image_format == "png":
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 4])[1].tobytes()
  settings = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
  return cv2.imencode(".jpg", image, settings)[1].tobytes()


def try_record(job) -> tuple[str, tuple[dict, bytes] | None, str]:
  """Makes a serialized record, or says why there is none.

  Args: job: (clip, episode number, Picture). Returns: the clip's name, the record (see builder.Serializer) or None, the
    reason or "".
  Raises: InputError: the talker cannot speak, which is so for every clip. MachineError: nothing can be read here.
  """
  clip, episode, picture = job
  try:
    return clip.name, _serializer()(make_record(clip, episode, picture)), ""
  except InputError as error:
    if isinstance(clip, TalkerClip):
      raise
    prove_machine()  # before the file is blamed
    return clip.name, None, str(error)
  except OSError as error:
    raise MachineError(f"{clip.name}: {error.filename or ''} {error.strerror}; then try again") from error


@functools.cache
def _serializer():
  return dataset.Serializer(dataset.clip_features())
