"""What `nwt_jax.api` returns: a video that is sampled while it is read, or while its sound arrives."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nwt_jax.generate.session import Chunk, Clip
from nwt_jax.io.audio import SAMPLE_RATE
from nwt_jax.io.video import VideoWriter


@dataclasses.dataclass(frozen=True)
class Written:
  """What `Generation.write` wrote: path, frames, and the seconds that it took."""

  path: Path
  frames: int
  seconds: float


@dataclasses.dataclass(frozen=True)
class Latency:
  """Milliseconds of sound after the end of a frame that come before it does, at most, by what waits for them.

  chunk: frames of its chunk after it. audio: what its conditioning hears ahead. decoder: frames after it that the dVAE
  draws it with. mel: the last spectrogram's window. resampling: the filter to 24 kHz. Computing comes on top."""

  chunk: float
  audio: float
  decoder: float
  mel: float
  resampling: float

  @property
  def total(self) -> float:
    return self.chunk + self.audio + self.decoder + self.mel + self.resampling


@dataclasses.dataclass(frozen=True, eq=False)
class Generation(Clip):
  """A video that is sampled while it is read: iterate over its chunks once, or `write` it. Memory stays constant."""

  chunk_frames: int
  model: Any  # api.NWT

  @property
  def numbers(self) -> np.ndarray:
    """The episode of each frame [t]."""
    return self.episodes.at(np.arange(self.frames))

  @property
  def style(self):
    """The style [1 z], or that of each frame [1 t z] where episodes change on the way."""
    return self.styles if self.styles.ndim == 2 else self.style_at(np.arange(self.frames), True)[None]

  def __iter__(self) -> Iterator[Chunk]:
    return (chunk for _, chunk in self.model.run([self]).chunks())

  def write(self, path: str | Path, on_chunk: Callable[[Chunk], None] | None = None) -> Written:
    """Writes the video with its sound; the file appears under its name only when it is whole.

    Args: path: an .mp4; its folder is made. on_chunk: called after each chunk, for progress or to keep codes.
    Raises: InputError: the file cannot be written, or does not end in .mp4: before anything is sampled.
    """
    began = time.perf_counter()
    model = self.model
    with VideoWriter(path, model.fps, model.height, model.width, self.sound.samples, SAMPLE_RATE) as writer:
      for chunk in self:
        writer.write(chunk.frames)
        if on_chunk is not None:
          on_chunk(chunk)
    return Written(Path(path), self.frames, time.perf_counter() - began)


class Stream:
  """A video of sound that is still arriving; its frames come as soon as they can. Memory stays constant.

  `for chunk in stream.follow(pieces)`, or `stream.feed(piece)` for each piece and `stream.finish()` after the last. One
  thread at a time: what records puts its pieces in a queue, which another reads: `stream.follow(queue.get)`.
  """

  def __init__(self, generation: Generation):
    self._generation = generation
    self._run = generation.model.run([generation])

  def feed(self, samples: np.ndarray) -> Iterator[Chunk]:
    """Takes a piece of sound, of any length, and returns the frames that it allows, made as they are asked for.

    Args: samples: [samples] or [samples channels], floats in about [-1, 1] or 16-bit integers. Channels are mixed as
      they come; a warning says once where they cancel.
    Raises: InputError: something else, or sound after the end."""
    self._generation.sound.feed(samples)
    return self._chunks()

  def finish(self) -> Iterator[Chunk]:
    """Says that the sound has ended, and returns the frames that are left."""
    self._generation.sound.finish()
    return self._chunks()

  def follow(self, pieces: Iterable[np.ndarray] | Callable[[], np.ndarray | None]) -> Iterator[Chunk]:
    """The whole video. Args: pieces: an iterable that waits for each piece of sound, or a call that does, whose None is
    the end."""
    pieces = iter(pieces) if isinstance(pieces, Iterable) else _until_none(pieces)
    for piece in pieces:
      yield from self.feed(piece)
    yield from self.finish()

  def _chunks(self) -> Iterator[Chunk]:
    return (chunk for _, chunk in self._run.chunks())


def _until_none(get: Callable[[], np.ndarray | None]) -> Iterator[np.ndarray]:
  while (piece := get()) is not None:
    yield piece
