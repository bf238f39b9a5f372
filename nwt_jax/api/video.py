"""The results of `nwt_jax.api`: a video that is sampled while it is read, or while its sound arrives."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from nwt_jax.generate.sampler import Sampler
from nwt_jax.generate.session import Chunk, ClipRequest, Session
from nwt_jax.io.audio import SAMPLE_RATE
from nwt_jax.io.video import VideoWriter
from nwt_jax.types import StyleTrack


@dataclasses.dataclass(frozen=True)
class WrittenVideo:
  """A file that `Generation.write` wrote: its path, its number of frames, and the seconds that writing took."""

  path: Path
  frames: int
  seconds: float


@dataclasses.dataclass(frozen=True)
class Latency:
  """The latency of a stream by cause: the most sound that must follow a frame before it comes out, milliseconds.

  chunk: frames of its chunk after it. audio: frames after it that its conditioning depends on. decoder: frames after it
  that the dVAE draws it with. mel: the last spectrogram's window. resampling: the filter to 24 kHz. Computing comes on
  top."""

  chunk: float
  audio: float
  decoder: float
  mel: float
  resampling: float

  @property
  def total(self) -> float:
    """The sum over all causes."""
    return self.chunk + self.audio + self.decoder + self.mel + self.resampling


@dataclasses.dataclass(frozen=True)
class VideoFormat:
  """The frames per second of a video, and the size of a frame in pixels."""

  fps: int
  height: int
  width: int


@dataclasses.dataclass(frozen=True, eq=False)
class Generation(ClipRequest):
  """A video that is sampled while it is read: iterate over its chunks once, `write` it, or `collect` all of it.

  Iterating and writing keep memory constant. chunk_frames: frames sampled at once. sampler: the model's.
  """

  chunk_frames: int
  sampler: Sampler
  format: VideoFormat

  @property
  def numbers(self) -> np.ndarray:
    """The number of each frame's episode [t]."""
    return self.episodes.at(np.arange(self.frames))

  @property
  def style(self) -> StyleTrack:
    """The style [1 z], or the style of each frame [1 t z] where episodes change on the way."""
    return self.styles if self.styles.ndim == 2 else self.style_at(np.arange(self.frames), True)[None]

  def __iter__(self) -> Iterator[Chunk]:
    return (chunk for _, chunk in self.session().chunks())

  def session(self) -> Session:
    """Starts a session with this clip alone."""
    return Session(self.sampler, [self], self.chunk_frames)

  def collect(self) -> Chunk:
    """Samples the whole video into memory. Returns: all its frames and all its codes."""
    return Chunk.join(self)

  def write(self, path: str | Path, on_chunk: Callable[[Chunk], None] | None = None) -> WrittenVideo:
    """Writes the video with its sound; the file appears under its name only when it is whole.

    Args: path: an .mp4; its folder is made. on_chunk: called after each chunk, for progress or to keep codes.
    Raises: InputError: the file cannot be written, or does not end in .mp4: before anything is sampled.
    """
    began = time.perf_counter()
    size = self.format
    with VideoWriter(path, size.fps, size.height, size.width, self.sound.samples, SAMPLE_RATE) as writer:  # ty: ignore[missing-attribute]
      for chunk in self:
        writer.write(chunk.frames)
        if on_chunk is not None:
          on_chunk(chunk)
    return WrittenVideo(Path(path), self.frames, time.perf_counter() - began)


class Stream:
  """A video of sound that is still arriving; each frame comes as soon as it can be computed. Memory stays constant.

  `for chunk in stream.follow(pieces)`, or `stream.feed(piece)` for each piece and `stream.finish()` after the last. One
  thread alone may use a stream; another thread, which records, puts its pieces in a queue: `stream.follow(queue.get)`.
  """

  def __init__(self, generation: Generation):
    self._generation = generation
    self._session = generation.session()

  def feed(self, samples: np.ndarray) -> Iterator[Chunk]:
    """Takes a piece of sound of any length, and returns the frames that it completes; iterating makes them.

    Args: samples: [samples] or [samples channels], floats in about [-1, 1] or 16-bit integers. Channels are mixed as
      they come; a warning says once where they cancel.
    Raises: InputError: something else, or sound after the end."""
    self._generation.sound.feed(samples)  # ty: ignore[missing-attribute]
    return self._chunks()

  def finish(self) -> Iterator[Chunk]:
    """Ends the sound, and returns the frames that are left."""
    self._generation.sound.finish()  # ty: ignore[missing-attribute]
    return self._chunks()

  def follow(self, pieces: Iterable[np.ndarray] | Callable[[], np.ndarray | None]) -> Iterator[Chunk]:
    """Yields the whole video.

    Args: pieces: an iterable that waits for each piece of sound, or a function that does and that ends with None."""
    pieces = iter(pieces) if isinstance(pieces, Iterable) else _until_none(pieces)
    for piece in pieces:
      yield from self.feed(piece)
    yield from self.finish()

  def _chunks(self) -> Iterator[Chunk]:
    return (chunk for _, chunk in self._session.chunks())


def _until_none(get: Callable[[], np.ndarray | None]) -> Iterator[np.ndarray]:
  while (piece := get()) is not None:
    yield piece
