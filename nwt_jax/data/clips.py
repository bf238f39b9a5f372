"""Prepared clips, read at random: frames, log-mel, sound, episode and, where there is one, truth."""

import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import tensorflow_datasets as tfds

from nwt_jax.data import builder
from nwt_jax.data.splits import MEAN, SPLITS
from nwt_jax.errors import InputError
from nwt_jax.io.audio import MEL_FRAMES, from_int16

PREPARE = "python -m nwt_jax.prepare --input='videos/*.mp4' --output=DIR"


class Records:
  """One split of a data set: `len`, `metadata`, and `index` (name, episode, frames, sha256 of each record).

  Safe to share between threads. A small data set may have empty splits, but never an empty "train".

  Args: path: the data set's folder. split: "train", "validation" or "test".
  Raises: InputError: no such data set.
  """

  kind: str
  remedy: str

  def __init__(self, path, split: str):
    if split not in SPLITS:
      raise InputError(f"there is no split {split!r}; the splits are {', '.join(SPLITS)}")
    self.metadata = builder.read_metadata(path, self.kind, self.remedy)
    self.path, self.split = Path(path), split
    index = json.loads((self.path / builder.INDEX).read_text())
    self._check(index)
    self.index = index.get(split, [])
    # TFDS knows no empty split.
    shards = tfds.builder_from_directory(self.path / self.kind / builder.VERSION)
    self._records = shards.as_data_source(split) if self.index else ()

  def __len__(self):
    return len(self.index)

  def _check(self, index):
    """Raises InputError: a shard is missing or cut short, or something stands in two splits."""
    for name, size in self.metadata.get("files", {}).items():
      found = (self.path / name).stat().st_size if (self.path / name).is_file() else None
      if found != size:
        what = "is missing" if found is None else f"has {found} bytes, wanted {size}"
        raise InputError(f"{self.path / name} {what}; copy the data set again, or make it with `{self.remedy}`")
    home = {}
    for split, rows in index.items():
      for row in rows:
        if home.setdefault(row["name"], split) != split:
          raise InputError(
            f"{self.path}: {row['name']!r} is in {home[row['name']]} and in {split}; make it again with `{self.remedy}`"
          )

  def record(self, i: int) -> Mapping:
    """Record i as stored, texts still bytes. Raises: IndexError. InputError: the file is damaged there."""
    if not -len(self) <= i < len(self):
      raise IndexError(f"{self.path} has {len(self)} {self.kind} for {self.split}, asked for {i}")
    i %= len(self)
    try:
      return self._records[i]
    except (RuntimeError, ValueError, IndexError, OSError) as error:  # what array_record raises
      where, why = (
        f"{self.path / self.kind}, {self.split} record {i} ({self.index[i]['name']})",
        str(error).splitlines(),
      )
      raise InputError(
        f"{where} is damaged ({why[0] if why else type(error).__name__}); copy the data set again, or make it with "
        f"`{self.remedy}`"
      ) from error

  def episode_name(self, episode: int) -> str:
    """The name of an episode's number; `MEAN` for -1, an episode held out of training."""
    return self.metadata["episodes"][episode] if episode >= 0 else MEAN

  def check_window(self, i, start, length):
    """Raises ValueError where a window leaves its clip."""
    frames = self.index[i]["frames"]
    if start < 0 or length < 1 or start + length > frames:
      raise ValueError(f"frames {start} to {start + length} of {self.index[i]['name']}, which has {frames}")


class Clips(Records):
  """One split of prepared clips."""

  kind = "clips"
  remedy = PREPARE

  def __getitem__(self, i: int) -> dict:
    """A whole clip.

    Returns: name str; episode int, place in metadata["episodes"] or -1; video uint8 RGB [t, h, w, 3]; mel float32
      [4 t, 80]; audio float32 [samples] at 24 kHz; truth dict or None.
    """
    record = self.record(i)
    truth = as_text(record["truth"])
    return {
      "name": as_text(record["name"]),
      "episode": int(record["episode"]),
      "video": self._decode(record["frames"]),
      "mel": np.array(record["mel"]),
      "audio": from_int16(record["audio"]),
      "truth": json.loads(truth) if truth else None,
    }

  def window(self, i: int, start: int, length: int) -> dict:
    """Some frames of a clip, decoding no others.

    Args: i: the clip. start: first frame. length: frames.
    Returns: video uint8 RGB [length, h, w, 3]; mel float32 [4 length, 80]; episode int32.
    Raises: ValueError: the clip ends before start + length.
    """
    self.check_window(i, start, length)
    record = self.record(i)
    return {
      "video": self._decode(record["frames"][start : start + length]),
      "mel": np.array(record["mel"][MEL_FRAMES * start : MEL_FRAMES * (start + length)]),
      "episode": np.int32(record["episode"]),
    }

  def _decode(self, frames):
    video = np.empty((len(frames), self.metadata["height"], self.metadata["width"], 3), np.uint8)
    for frame, image in zip(video, frames, strict=True):
      decoded = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
      cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB, dst=frame)
    return video


def as_text(value):
  return value.decode() if isinstance(value, bytes) else str(value)
