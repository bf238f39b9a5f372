"""Checks the request for a video against a model's card, before the model and jax are loaded."""

import dataclasses
import math

import numpy as np

from nwt_jax.errors import InputError
from nwt_jax.generate.style_text import parse
from nwt_jax.names import MEAN, plain


@dataclasses.dataclass(frozen=True)
class Episodes:
  """The episodes of a video: part p has number `numbers[p]` from frame `starts[p]` on; -1 is the mean embedding."""

  starts: np.ndarray
  numbers: np.ndarray

  @classmethod
  def parse(cls, text: str | None, names: tuple[str, ...], fps: int, frames: int | None) -> "Episodes":
    """Reads a request.

    Args: text: "A", "mean", or changes on the way, "A,B@2.5,A@5.0" in seconds; None: the first name. names: the
      checkpoint's episodes. frames: length of the video; None where its end is not known yet.
    Raises: InputError: an unknown name, or times that do not rise within the video.
    """
    names, text = tuple(map(plain, names)), text and plain(text)
    starts, numbers, before = [], [], 0.0
    end = math.inf if frames is None else frames / fps
    for index, part in enumerate((text or names[0]).split(",")):
      name, at, when = part.strip().rpartition("@") if "@" in part else (part.strip(), "", "0")
      if name not in names and name != MEAN:
        raise InputError(f"unknown episode {name!r}; choose from {', '.join(names)}, or {MEAN}")
      try:
        seconds = float(when)
      except ValueError:
        seconds = math.nan
      if index and not (at and before < seconds < end):
        until = "" if frames is None else f" and before the end at {end:.2f} s"
        raise InputError(f"episode change {part.strip()!r} needs a time after {before:g} s{until}, as in A,B@2.5")
      if not index and seconds != 0:
        raise InputError(f"the first episode {part.strip()!r} starts the video; give it without a time, as in A,B@2.5")
      starts.append(math.ceil(seconds * fps - 1e-6))
      numbers.append(-1 if name == MEAN else names.index(name))
      before = seconds
    return cls(np.array(starts), np.array(numbers, np.int32))

  def part(self, frames: np.ndarray) -> np.ndarray:
    """Returns the index in `numbers` of each frame's episode; the later one where two start at once."""
    return np.searchsorted(self.starts, frames, side="right") - 1

  def at(self, frames: np.ndarray) -> np.ndarray:
    """Returns the number of each frame's episode, int32."""
    return self.numbers[self.part(frames)]


def check(
  card: dict,
  fps: int,
  frames: int | None,
  *,
  temperature: float | None = None,
  chunk_frames: int = 1,
  episode: str | None = None,
  style: str | None = None,
) -> Episodes:
  """Checks a request against a prior's card.

  Args: card: the prior's. frames: length of the video; None where its end is not known yet. The others are as in
    `api.NWT.generate`.
  Returns: the episode of each part of the video. Raises: InputError: names what does not fit, and the choices.
  """
  if temperature is not None and not (math.isfinite(temperature) and temperature >= 0):
    raise InputError(f"temperature {temperature} is not a finite number from 0 on; give 1, or 0 for the likeliest")
  if chunk_frames < 1:
    raise InputError(f"chunk_frames {chunk_frames} is less than one frame; 32 is usual")
  if style:
    parse(style, card["model"]["style_dim"])
  return Episodes.parse(episode, tuple(card["episodes"]), fps, frames)
