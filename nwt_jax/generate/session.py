"""A session samples clips and decodes their frames, chunk by chunk, as far as their sound has come.

A recording that is complete is a stream that has ended: there is no second way to sample one. Chunks have one shape
however the sound arrives, so that a stream gives the frames of the recording, bit for bit.
"""

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from nwt_jax.generate.sampler import Sampler
from nwt_jax.types import StyleTrack


@dataclasses.dataclass(frozen=True)
class Chunk:
  """Consecutive frames of a generated video.

  frames: RGB pixels. codes: the Memcodes that the frames were decoded from.
  """

  frames: UInt8[np.ndarray, "t h w 3"]
  codes: UInt8[np.ndarray, "t i j k"]

  @classmethod
  def join(cls, chunks: Iterable["Chunk"]) -> "Chunk":
    """Concatenates consecutive chunks. Raises: ValueError: there are none."""
    chunks = list(chunks)
    return cls(np.concatenate([c.frames for c in chunks]), np.concatenate([c.codes for c in chunks]))


@runtime_checkable
class AudioTrack(Protocol):
  """The sound of a clip, read by a session; `io.audio_stream` has two kinds: whole recordings, and live sound."""

  @property
  def frames(self) -> int:
    """Video frames that cover the sound so far."""

  @property
  def ended(self) -> bool:
    """Whether no more sound will come."""

  @property
  def ready(self) -> int:
    """Number of frames whose mel will not change when more sound comes."""

  def mel(self, start: int, stop: int) -> np.ndarray:
    """Log-mel of the frames from `start` to before `stop`, float32 [4 (stop - start), 80]."""

  def forget(self, frame: int) -> None:
    """Frees the sound that no mel from `frame` on needs."""


@runtime_checkable
class EpisodeTrack(Protocol):
  """The episode of each frame: `api.episodes.Episodes`."""

  def at(self, frames: np.ndarray) -> np.ndarray:
    """The number of each frame's episode."""

  def part(self, frames: np.ndarray) -> np.ndarray:
    """The index of each frame's episode in the list of changes."""


@dataclasses.dataclass(frozen=True, eq=False)
class ClipRequest:
  """A clip to be sampled: all that its Memcodes depend on, beside the model.

  sound, episodes: the clip's sound, and the episode of each frame. styles: [1 z], or [1 c z] with one style for each
  part of `episodes`. key: seeds the sampling noise. temperature: 0 takes the likeliest codes.
  """

  sound: AudioTrack
  episodes: EpisodeTrack
  styles: StyleTrack
  key: Key[Array, ""]
  temperature: float

  @property
  def frames(self) -> int:
    """Number of frames that cover the sound; of live sound, the number so far."""
    return self.sound.frames

  def style_at(self, frames: np.ndarray, tracked: bool) -> Float[Array, " z"] | Float[Array, "t z"]:
    """Returns the style [z], or the style of each frame [t z].

    Args: frames: numbers of the frames [t]. tracked: whether some clip of the batch changes its style on the way: all
      of them then need one style per frame."""
    if self.styles.ndim == 3:
      return self.styles[0, self.episodes.part(frames)]
    return jnp.broadcast_to(self.styles, (len(frames), self.styles.shape[1])) if tracked else self.styles[0]


class Session:
  """Clips side by side, all at the same frame, from their first chunk to the end of the longest.

  Each chunk is sampled, and every frame is decoded once the Memcodes within the decoder's margin after it are sampled.
  The next chunk is dispatched before the pixels of the previous one are fetched, which overlaps device and host; at
  most two chunks are in flight.

  Args: sampler: the model's. clips: requests with one temperature. size: number of frames in a chunk.
  """

  def __init__(self, sampler: Sampler, clips: Sequence[ClipRequest], size: int):
    self.clips, self.size = tuple(clips), size
    self.cond_margins, self.margins = sampler.prior.cond_margins, sampler.codec.decoder_margins
    self._sample, self._draw, self._state = sampler.sample(size), sampler.codec.draw, sampler.init_state(len(clips))
    self._keys = jnp.stack([clip.key for clip in clips])
    self._tracked = any(clip.styles.ndim == 3 for clip in clips)
    self._blank = jnp.zeros((len(clips), size, *sampler.codes_shape), jnp.uint8)
    # The last Memcodes, which are within the decoder's margins of the next frames
    self._tail = jnp.zeros((len(clips), sum(self.margins), *sampler.codes_shape), jnp.uint8)
    self._first = 0  # frame that the next chunk begins with
    self._waiting: deque = deque()  # pixels and codes that the device computes

  def chunks(self) -> Iterator[tuple[int, Chunk]]:
    """Samples as far as the sound allows. Returns: (index of a clip, its next frames) in order of time."""
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
      return self._first + self.size + self.cond_margins[1] <= min(clip.sound.ready for clip in self.clips)
    return self._first - self.margins[1] < total  # the number of decoded frames is below the total

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
      clip.sound.forget(self._first - self.cond_margins[0])

  def _sample_chunk(self, first: int) -> tuple[Array, object]:
    """Calls the chunk program; each clip brings as much sound around the chunk as its conditioning depends on."""
    start, stop = first - self.cond_margins[0], first + self.size + self.cond_margins[1]
    around = np.arange(start, stop)
    return self._sample(
      self._state,
      np.stack([clip.sound.mel(start, stop) for clip in self.clips]),
      self._inside(around),
      jnp.stack([clip.style_at(self._clipped(clip, around), self._tracked) for clip in self.clips]),
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
    return np.stack([clip.episodes.at(self._clipped(clip, around)) for clip in self.clips])

  @staticmethod
  def _clipped(clip: ClipRequest, around: np.ndarray) -> np.ndarray:
    """Frames outside the clip stand for its first and last."""
    return np.clip(around, 0, max(clip.frames - 1, 0))
