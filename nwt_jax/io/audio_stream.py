"""Sound of any length as frames of log-mel: long recordings stay on disk, live ones pass through (D.8)."""

import logging
import numbers
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nwt_jax.errors import InputError, MachineError, MediaError
from nwt_jax.io import audio
from nwt_jax.io.audio import SAMPLE_RATE, resample
from nwt_jax.io.downmix import MOST, Downmix, cancel_message, check_values, measure
from nwt_jax.io.mel import HOP, MEL_BINS, MEL_FLOOR, MEL_FRAMES, WINDOW, log_mel

FRAME_SAMPLES = HOP * MEL_FRAMES  # samples per video frame
LONG = 60.0  # seconds; anything longer is resampled block by block into a temporary file
CANCEL_SECONDS = 1.0  # of a stream, after which a warning may say that its channels cancel
MEL_AHEAD = WINDOW // 2 - HOP  # samples after a frame that its last mel row depends on


class AudioSource:
  """A recording as video frames see it.

  Args: samples: float32 [samples] at 24 kHz, in memory or mapped from a file.
  """

  def __init__(self, samples):
    self.samples = samples

  ended = True  # no more samples come

  @property
  def length(self) -> int:
    """Samples so far, those included that were forgotten."""
    return len(self.samples)

  @property
  def frames(self) -> int:
    """Video frames that cover the sound so far, at 30 a second; the last may be part silence."""
    return -(-self.length // FRAME_SAMPLES)

  @property
  def seconds(self) -> float:
    """Duration."""
    return self.length / SAMPLE_RATE

  @property
  def ready(self) -> int:
    """Frames whose mel will not change by what is still to come."""
    return self.frames if self.ended else max(self.length - MEL_AHEAD, 0) // FRAME_SAMPLES

  def part(self, start: int, stop: int) -> np.ndarray:
    """Samples from `start` up to `stop`, or to the last one that is there."""
    return self.samples[start:stop]

  def forget(self, frame: int) -> None:
    """Lets go of what no mel from `frame` on needs."""

  def mel(self, start: int, stop: int) -> np.ndarray:
    """Log-mel of some frames, equal to that part of the whole recording's.

    Args: start, stop: frames; those outside the recording are silence.
    Returns: float32 [4 (stop - start), 80].
    """
    mel = np.full((MEL_FRAMES * (stop - start), MEL_BINS), np.log(MEL_FLOOR), np.float32)
    first, last = max(start, 0), min(stop, self.frames)
    if first < last:
      lead = min(1, first)  # a row depends on up to 512 samples around it: one frame more on either side is enough
      strip = self.part((first - lead) * FRAME_SAMPLES, (last + 1) * FRAME_SAMPLES)
      rows = log_mel(strip, frames=last - first + lead)[MEL_FRAMES * lead :]
      mel[MEL_FRAMES * (first - start) :][: len(rows)] = rows
    return mel


class LiveAudio(AudioSource):
  """A recording that is still arriving, in pieces of any size; it holds what has not been forgotten.

  Channels are mixed as they come. Where they cancel, which only the whole recording shows, a
  warning is logged; `from_array` would take one of them from the start on.

  Args: rate: samples per second of the pieces.
  Raises: InputError: a rate that is not positive.
  """

  def __init__(self, rate: float | None):
    check_rate(rate)
    assert rate is not None
    self._resample, self._rate = _resampler(rate), rate
    self._mix, self._warned = None, False
    self._buffer, self._first = bytearray(), 0  # float32 samples, and the number of the first of them
    self.ended = False

  @property
  def length(self) -> int:
    return self._first + len(self._buffer) // 4

  @property
  def samples(self) -> np.ndarray:
    """The newest samples: those that have not been forgotten."""
    return np.frombuffer(bytes(self._buffer), np.float32)

  def part(self, start: int, stop: int) -> np.ndarray:
    assert start >= self._first, (start, self._first)
    return np.frombuffer(bytes(self._buffer[4 * (start - self._first) : 4 * (stop - self._first)]), np.float32)

  def forget(self, frame: int) -> None:
    first = min(max((frame - 1) * FRAME_SAMPLES, self._first), self.length)  # `mel` reads one frame before
    del self._buffer[: 4 * (first - self._first)]
    self._first = first

  def feed(self, samples: np.ndarray) -> None:
    """Takes the next piece. Args: samples: see `from_array`; it may be empty.

    Raises: InputError: see `from_array`; or a piece comes after the end."""
    if self.ended:
      raise InputError("sound came after its end; start another stream")
    self._take(self._mixed(check_samples(samples)), last=False)

  def finish(self) -> None:
    """Ends the sound: no piece is to come. A second call changes nothing."""
    if not self.ended:
      self._take(np.zeros(0, np.float32), last=True)
      self.ended = True

  def _mixed(self, samples: np.ndarray) -> np.ndarray:
    if samples.shape[1] == 1:
      return np.ascontiguousarray(samples[:, 0], np.float32)
    if self._mix is None or self._mix.channels != samples.shape[1]:
      self._mix = Downmix(samples.shape[1])
    mixed, channel = self._mix(samples), self._mix.cancelled
    if not self._warned and self._mix.samples >= CANCEL_SECONDS * self._rate and channel is not None:
      self._warned = True
      logging.warning("%s; feed samples[:, %d] alone", cancel_message("the stream", channel), channel)
    return mixed

  def _take(self, samples: np.ndarray, last: bool) -> None:
    self._buffer += self._resample(samples, last).tobytes()


def open_sound(path: str | Path) -> AudioSource:
  """Opens a sound file, or the sound of a video; a long one is resampled block by block into an unnamed file.

  Raises: InputError: see read_audio. MachineError: the temporary file has no room.
  """
  with tempfile.SpooledTemporaryFile(max_size=round(LONG * SAMPLE_RATE) * 4) as spool:
    step: Any = None

    def begin(rate):
      nonlocal step
      step = _resampler(rate)
      spool.seek(0)
      spool.truncate()
      return lambda samples: write(samples, False)

    def write(samples, last):
      try:
        spool.write(step(samples, last).tobytes())
      except OSError as error:
        folder = tempfile.gettempdir()
        raise MachineError(f"the sound of {path} has no room in {folder}: {error.strerror}; set TMPDIR") from error

    channel = audio.read_blocks(path, begin)
    write(np.zeros(0, np.float32), True)
    if channel is not None:
      logging.warning("%s; that channel alone is taken", cancel_message(str(path), channel))
    if spool.tell() <= LONG * SAMPLE_RATE * 4:
      spool.seek(0)
      return AudioSource(np.frombuffer(spool.read(), np.float32))
    spool.flush()
    return AudioSource(np.memmap(spool, np.float32, mode="r"))  # a map outlives its file's name


def from_array(samples: np.ndarray, rate: int) -> AudioSource:
  """Sound from memory.

  Args: samples: [samples] or [samples channels], floats in about [-1, 1] or 16-bit integers. rate: samples per second.
  Raises: InputError: another shape, type or scale, no samples, NaN samples, a rate that is not positive.
  """
  samples = check_samples(samples)
  if not len(samples):
    raise MediaError("sound holds no samples; give [samples] or [samples, channels] with at least one")
  check_rate(rate)
  mix = Downmix(samples.shape[1])
  mixed = mix(samples)
  if mix.cancelled is not None:
    logging.warning("%s; that channel alone is taken", cancel_message("the sound", mix.cancelled))
    mixed = samples[:, mix.cancelled]
  return AudioSource(resample(mixed, rate, SAMPLE_RATE))


def check_samples(samples: np.ndarray) -> np.ndarray:
  """Checks sound from memory. Returns: floats [samples channels], full scale 1.

  Raises: InputError: see `from_array`."""
  samples = np.asarray(samples)
  if samples.ndim not in (1, 2) or samples.ndim == 2 and not samples.shape[1]:
    raise MediaError(f"sound has shape {samples.shape}; give [samples] or [samples, channels]")
  if samples.ndim == 2 and samples.shape[1] > MOST:
    hint = "samples.T" if samples.shape[0] <= MOST else "one of them"
    count = f"sound of shape {samples.shape} would have {samples.shape[1]} channels"
    raise MediaError(f"{count}; give {hint}, as [samples, channels]")
  if samples.dtype == np.int16:
    samples = samples / np.float32(32768)
  elif not np.issubdtype(samples.dtype, np.floating):
    scale = f"samples / 2**{8 * samples.itemsize - 1}" + (" - 1" if samples.dtype.kind == "u" else "")
    hint = f" ({scale})" if samples.dtype.kind in "iu" else ""
    raise MediaError(f"sound has type {samples.dtype}; give floats in [-1, 1]{hint} or int16")
  check_values("sound", *measure(samples))
  return samples if samples.ndim == 2 else samples[:, None]


def check_rate(rate: object) -> None:
  """Raises: InputError: not a number of samples per second that sound has."""
  if not isinstance(rate, numbers.Real) or not 1_000 <= rate <= 768_000:  # ty: ignore[unsupported-operator]
    raise InputError(f"the sample rate {rate!r} is not one of sound; give its samples per second, 1,000 to 768,000")


def resampling_lag(rate: float) -> float:
  """Seconds that a sample may wait in the resampler, at most: measured on two seconds of silence, sample by sample.

  Measured because soxr's filters work in blocks, whose size follows from the rate: 39 ms at 48 kHz, 73 ms at 8 kHz."""
  check_rate(rate)
  step, silence, got, lag = _resampler(rate), np.zeros(1, np.float32), 0, 0.0
  for fed in range(1, round(2 * rate) + 1):
    lag = max(lag, fed / rate - (got + 1) / SAMPLE_RATE)  # if this sample is what the next one to come waits for
    got += len(step(silence, False))
  return lag


def _resampler(rate: float) -> Callable[[np.ndarray, bool], np.ndarray]:
  """Builds step(samples, last) -> what is ready at 24 kHz. It does not matter how the samples are cut, and all of it is
  `resample` of all of them: tests/io/test_audio_stream.py holds soxr to that."""
  if rate == SAMPLE_RATE:
    return lambda samples, last: samples
  import soxr

  stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
  return lambda samples, last: stream.resample_chunk(samples, last=last)
