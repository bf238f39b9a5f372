"""Clips sampled and drawn as far as their sound has come, chunk by chunk: of one shape, however the sound arrives.

A clip that is all there is a stream that has ended: there is no second way to sample one.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Chunk:
  """Consecutive frames of a generated video.

  frames: uint8 RGB [t h w 3]. codes: uint8 [t i j k], the Memcodes that they were decoded from.
  """

  frames: np.ndarray
  codes: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
  """What is asked for: all that a clip's Memcodes depend on, beside the model.

  sound: as io.sound.Sound: `frames`, `ended`, `ready`, `mel(start, stop)`, `forget(frame)`. episodes: `at(frames)` and
  `part(frames)`, the number and the place in the list of changes of each frame's episode. styles: float32 [1 z], or
  [1 c z] with one for each part. key: of the noise. temperature: 0 takes the likeliest codes.
  """

  sound: Any
  episodes: Any
  styles: jax.Array
  key: jax.Array
  temperature: float

  @property
  def frames(self) -> int:
    """Frames that cover the sound; of one that still arrives, those so far."""
    return self.sound.frames

  def style_at(self, frames: np.ndarray, tracked: bool) -> jax.Array:
    """The style [z], or, where one clip of a batch is `tracked`, that of each frame [t z]."""
    if self.styles.ndim == 3:
      return self.styles[0, self.episodes.part(frames)]
    return jnp.broadcast_to(self.styles, (len(frames), self.styles.shape[1])) if tracked else self.styles[0]


class Run:
  """Clips side by side, all at the same frame, from their first chunk to the end of the longest.

  A turn samples a chunk and draws the frames whose Memcodes, with the decoder's margin, are there. The device is asked
  for the next turn before the pixels of one are fetched, so that it works while their receiver does; two turns at most
  are in memory.

  Args: clips: of one temperature. size: frames in a chunk. reach: frames (before, after) that conditioning hears.
    margins: frames (before, after) that the decoder sees. sample: chunk(state, mel, valid, style, episode, keys,
    first_frame, temperature) -> (codes, state), as generate.chunks makes it. draw: (codes, episode, valid) -> uint8
    pixels without the margins. state: of sampling, before the first chunk. places: (i, j, k) of a frame of Memcodes.
  """

  def __init__(
    self,
    clips: Sequence[Clip],
    size: int,
    reach: tuple[int, int],
    margins: tuple[int, int],
    sample: Callable,
    draw: Callable,
    state: Any,
    places: tuple[int, int, int],
  ):
    self.clips, self.size, self.reach, self.margins = tuple(clips), size, reach, margins
    self._sample, self._draw, self._state = sample, draw, state
    self._keys = jnp.stack([clip.key for clip in clips])
    self._tracked = any(clip.styles.ndim == 3 for clip in clips)
    self._blank = jnp.zeros((len(clips), size, *places), jnp.uint8)
    self._tail = jnp.zeros((len(clips), sum(margins), *places), jnp.uint8)  # codes that the next drawing still sees
    self._first = 0  # frame that the next chunk begins with
    self._waiting: deque = deque()  # pixels and codes on their way

  def chunks(self) -> Iterator[tuple[int, Chunk]]:
    """Goes on as far as the sound allows. Returns: (clip, its next frames) as they come."""
    while self._can_turn():
      self._turn()
      if len(self._waiting) > 1:
        yield from self._fetch()
    while self._waiting:
      yield from self._fetch()

  @property
  def _total(self) -> int | None:
    ended = all(clip.sound.ended for clip in self.clips)
    return max(clip.frames for clip in self.clips) if ended else None

  def _can_turn(self) -> bool:
    total = self._total
    if total is None:
      return self._first + self.size + self.reach[1] <= min(clip.sound.ready for clip in self.clips)
    return self._first - self.margins[1] < total  # frames that are drawn

  def _turn(self) -> None:
    first, (before, after) = self._first, self.margins
    codes, total = self._blank, self._total
    if total is None or first < total:
      codes, self._state = self._sample_chunk(first)
    around = np.arange(first - after - before, first + self.size)
    seen = jnp.concatenate([self._tail, codes], axis=1)
    pixels = self._draw(seen, self._episodes(around), self._inside(around))
    self._tail = seen[:, self.size :]
    # A frame is drawn `after` frames late, and none before the first or beyond the last.
    spans = [(max(after - first, 0), min(self.size, clip.frames - first + after)) for clip in self.clips]
    self._waiting.append((pixels, seen[:, before : before + self.size], spans))
    self._first += self.size
    for clip in self.clips:
      clip.sound.forget(self._first - self.reach[0])

  def _sample_chunk(self, first: int):
    """The one call of the chunk programme. Each clip hears as much sound around as its conditioning looks at."""
    start, stop = first - self.reach[0], first + self.size + self.reach[1]
    around = np.arange(start, stop)
    return self._sample(
      self._state,
      np.stack([clip.sound.mel(start, stop) for clip in self.clips]),
      self._inside(around),
      jnp.stack([clip.style_at(self._held(clip, around), self._tracked) for clip in self.clips]),
      self._episodes(around),
      self._keys,
      jnp.int32(first),
      jnp.float32(self.clips[0].temperature),
    )

  def _fetch(self) -> Iterator[tuple[int, Chunk]]:
    pixels, codes, spans = self._waiting.popleft()
    pixels, codes = np.asarray(pixels), np.asarray(codes)
    for number, (low, high) in enumerate(spans):
      if low < high:
        yield number, Chunk(pixels[number, low:high], codes[number, low:high])

  def _inside(self, around: np.ndarray) -> np.ndarray:
    return np.stack([(around >= 0) & (around < clip.frames) for clip in self.clips]).astype(np.float32)

  def _episodes(self, around: np.ndarray) -> np.ndarray:
    return np.stack([clip.episodes.at(self._held(clip, around)) for clip in self.clips])

  @staticmethod
  def _held(clip: Clip, around: np.ndarray) -> np.ndarray:
    """Frames outside the clip stand for its first and last."""
    return np.clip(around, 0, max(clip.frames - 1, 0))
