"""Prepared clips, read at random: frames, log-mel, sound, episode and, where there is one, truth."""

import itertools
import json
import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import tensorflow_datasets as tfds

from nwt_jax.data import dataset
from nwt_jax.errors import InputError
from nwt_jax.io.audio import from_int16
from nwt_jax.io.mel import MEL_FRAMES
from nwt_jax.names import MEAN, SPLITS

PREPARE = "python -m nwt_jax.prepare --input='videos/*.mp4' --output=DIR"
GOLDEN = (math.sqrt(5) - 1) / 2
Split = TypeVar("Split", bound="Records")


class Records:
  """One split of a data set: `len`, `metadata`, and `index` (name, episode, frames, sha256 of each record).

  Safe to share between threads. A small data set may have empty splits, but never an empty "train".

  Args: path: the data set's folder. split: "train", "validation" or "test".
  Raises: InputError: no such data set.
  """

  kind: str
  hint: str

  def __init__(self, path: str | os.PathLike | None, split: str):
    if split not in SPLITS:
      raise InputError(f"there is no split {split!r}; the splits are {', '.join(SPLITS)}")
    self.metadata = dataset.read_metadata(path, self.kind, self.hint)
    self.path, self.split = Path(path), split  # ty: ignore[invalid-argument-type]
    index = json.loads((self.path / dataset.INDEX).read_text())
    self._check(index)
    self.index = index.get(split, [])
    # TFDS knows no empty split.
    shards = tfds.builder_from_directory(self.path / self.kind / dataset.VERSION)
    self._records = shards.as_data_source(split) if self.index else ()

  @classmethod
  def held_out(cls: type[Split], path: str | os.PathLike | None) -> Split:
    """Opens the split that a run is evaluated on: validation, or, where that is empty, training."""
    found = cls(path, "validation")
    return found if len(found) else cls(path, "train")

  def __len__(self):
    return len(self.index)

  def _check(self, index):
    """Raises: InputError: a shard is missing or cut short, or a record is in two splits."""
    for name, size in self.metadata.get("files", {}).items():
      found = (self.path / name).stat().st_size if (self.path / name).is_file() else None
      if found != size:
        what = "is missing" if found is None else f"has {found} bytes, wanted {size}"
        raise InputError(f"{self.path / name} {what}; copy the data set again, or make it with `{self.hint}`")
    home = {}
    for split, rows in index.items():
      for row in rows:
        if home.setdefault(row["name"], split) != split:
          raise InputError(
            f"{self.path}: {row['name']!r} is in {home[row['name']]} and in {split}; make it again with `{self.hint}`"
          )

  def record(self, i: int) -> Mapping:
    """Reads record i as stored, with texts as bytes. Raises: IndexError. InputError: the file is damaged there."""
    if not -len(self) <= i < len(self):
      raise IndexError(f"{self.path} has {len(self)} {self.kind} for {self.split}, asked for {i}")
    i %= len(self)
    try:
      return self._records[i]
    except (RuntimeError, ValueError, IndexError, OSError) as error:  # array_record's errors
      where, why = (
        f"{self.path / self.kind}, {self.split} record {i} ({self.index[i]['name']})",
        str(error).splitlines(),
      )
      raise InputError(
        f"{where} is damaged ({why[0] if why else type(error).__name__}); copy the data set again, or make it with "
        f"`{self.hint}`"
      ) from error

  def episode_name(self, episode: int) -> str:
    """Returns the name of an episode by its number; `MEAN` for -1, an episode held out of training."""
    return self.metadata["episodes"][episode] if episode >= 0 else MEAN

  def check_window(self, i: int, start: int, length: int) -> None:
    """Raises: ValueError: a window leaves its clip."""
    frames = self.index[i]["frames"]
    if start < 0 or length < 1 or start + length > frames:
      raise ValueError(f"frames {start} to {start + length} of {self.index[i]['name']}, which has {frames}")


class Clips(Records):
  """One split of prepared clips."""

  kind = "clips"
  hint = PREPARE

  def __getitem__(self, i: int) -> dict:
    """Reads a whole clip.

    Returns: name str; episode int, index into metadata["episodes"] or -1; video uint8 RGB [t, h, w, 3]; mel float32
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
    """Reads some frames of a clip; no others are decoded.

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

  def excerpts(self, count: int, frames: int) -> list[dict]:
    """Reads windows with their sound from all over the split (`spread`), for viewing and metrics.

    Args: count: most windows. frames: length of a window; shorter clips give shorter ones.
    Returns: a list of: name str; episode int; video uint8 RGB [t, h, w, 3]; audio float32 [samples] at 24 kHz.
    """
    return [self._excerpt(clip, start, frames) for clip, start in spread(self.index, count, frames)]

  def _excerpt(self, i, start, frames):
    record, rate = self.record(i), self.metadata["sample_rate"] / self.metadata["fps"]  # samples in a frame
    video = self._decode(record["frames"][start : start + frames])
    audio = from_int16(record["audio"][round(start * rate) : round((start + len(video)) * rate)])
    return {"name": as_text(record["name"]), "episode": int(record["episode"]), "video": video, "audio": audio}

  def _decode(self, frames):
    video = np.empty((len(frames), self.metadata["height"], self.metadata["width"], 3), np.uint8)
    for frame, image in zip(video, frames, strict=True):
      decoded = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
      cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB, dst=frame)  # ty: ignore[no-matching-overload]
    return video


def as_text(value: str | bytes) -> str:
  return value.decode() if isinstance(value, bytes) else str(value)


def spread(
  index: Sequence[Mapping], count: int, frames: int, among: Sequence[int] | None = None
) -> list[tuple[int, int]]:
  """Chooses windows from all over a split, as a function of the index alone.

  The choice goes in rounds; in each, every episode gives a clip that it has not given yet. Episodes, and the clips of
  an episode, come halves first, then quarters (0, 4, 2, 6, 1, ...), so that the first windows are spread evenly too.

  Args:
    index: see `Records`. count: windows, at most; no clip gives two. frames: length of a window; a clip that is shorter
      is taken from its first frame on. among: numbers of the clips to choose from; None: all.
  Returns: for each window the number of its clip, and its first frame, which may be any that leaves room.
  """
  clips = defaultdict(list)
  for clip in range(len(index)) if among is None else among:
    clips[index[clip]["episode"]].append(clip)
  episodes = _halves_first([_halves_first(clips[episode]) for episode in sorted(clips)])
  chosen = [clip for clips in itertools.zip_longest(*episodes) for clip in clips if clip is not None][:count]
  starts = [max(index[clip]["frames"] - frames, 0) + 1 for clip in chosen]
  # The first start is in the middle; multiples of the golden ratio fill [0, 1) evenly, however many they are.
  shares = ((0.5 + n * GOLDEN) % 1 for n in range(len(chosen)))
  return [(clip, int(share * free)) for clip, share, free in zip(chosen, shares, starts, strict=True)]


def _halves_first(items):
  width = max(len(items) - 1, 1).bit_length()
  return [items[n] for n in sorted(range(len(items)), key=lambda n: f"{n:0{width}b}"[::-1])]
