"""Sound of any length as frames of log-mel: long recordings stay on disk, a window at a time in memory (D.8)."""

import tempfile
from pathlib import Path

import numpy as np

from nwt_jax.errors import InputError
from nwt_jax.io.audio import HOP, MEL_BINS, MEL_FLOOR, MEL_FRAMES, SAMPLE_RATE, log_mel, read_audio, resample

FRAME_SAMPLES = HOP * MEL_FRAMES  # samples per video frame
LONG = 60.0  # seconds; anything longer is resampled block by block into a temporary file
BLOCK = 1 << 18  # samples read at once


class Sound:
  """A recording, seen as video frames.

  Args: samples: float32 [samples] at 24 kHz, in memory or mapped from a file.
  """

  def __init__(self, samples):
    self.samples = samples

  @property
  def frames(self) -> int:
    """Video frames that cover the sound, at 30 a second; the last may be part silence."""
    return -(-len(self.samples) // FRAME_SAMPLES)

  @property
  def seconds(self) -> float:
    """Duration."""
    return len(self.samples) / SAMPLE_RATE

  def mel(self, start: int, stop: int) -> np.ndarray:
    """Log-mel of some frames, equal to that part of the whole recording's.

    Args: start, stop: frames; those outside the recording are silence.
    Returns: float32 [4 (stop - start), 80].
    """
    mel = np.full((MEL_FRAMES * (stop - start), MEL_BINS), np.log(MEL_FLOOR), np.float32)
    first, last = max(start, 0), min(stop, self.frames)
    if first < last:
      lead = min(1, first)  # a row hears up to 512 samples around it: one frame more on either side is enough
      strip = self.samples[(first - lead) * FRAME_SAMPLES : (last + 1) * FRAME_SAMPLES]
      rows = log_mel(strip, frames=last - first + lead)[MEL_FRAMES * lead :]
      mel[MEL_FRAMES * (first - start) :][: len(rows)] = rows
    return mel


def open_sound(path: str | Path) -> Sound:
  """Opens a sound file, or the sound of a video.

  Raises: InputError: missing, empty, not sound, no samples, NaN samples.
  """
  return _open_long(path) or Sound(read_audio(path))


def from_array(samples: np.ndarray, rate: int) -> Sound:
  """Sound from memory.

  Args: samples: [samples] or [samples channels], floats in about [-1, 1] or 16-bit integers. rate: samples per second.
  Raises: InputError: another shape or type, no samples, NaN samples, a rate that is not positive.
  """
  samples = np.asarray(samples)
  if samples.ndim not in (1, 2) or samples.size == 0:
    raise InputError(f"sound has shape {samples.shape}; give [samples] or [samples, channels] with at least one sample")
  if samples.dtype == np.int16:
    samples = samples / np.float32(32768)
  if not np.issubdtype(samples.dtype, np.floating):
    raise InputError(f"sound has type {samples.dtype}; give floats in [-1, 1] or int16")
  if not np.isfinite(samples).all():
    bad = int((~np.isfinite(samples)).sum())
    raise InputError(f"sound holds {bad} samples that are NaN or infinite; clean it first")
  if not rate or rate <= 0:
    raise InputError(f"the sample rate {rate} is not positive; give the samples per second of the array")
  mono = samples if samples.ndim == 1 else samples.mean(axis=1)
  return Sound(resample(mono, rate, SAMPLE_RATE))


def _open_long(path) -> Sound | None:
  """A recording longer than LONG that libsndfile reads, resampled into an unnamed file; None for all others."""
  import soundfile
  import soxr

  try:
    with soundfile.SoundFile(path) as file:
      if file.frames <= LONG * file.samplerate:
        return None
      stream = soxr.ResampleStream(file.samplerate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
      spool = tempfile.TemporaryFile()
      read = 0
      for block in file.blocks(BLOCK, dtype="float32", always_2d=True):
        mono = block.mean(axis=1)
        read += len(mono)
        if not np.isfinite(mono).all():
          raise InputError(f"{path} holds samples that are NaN or infinite; export the recording again")
        spool.write(stream.resample_chunk(mono, last=len(block) < BLOCK).tobytes())
      spool.write(stream.resample_chunk(np.zeros(0, np.float32), last=True).tobytes() if read % BLOCK == 0 else b"")
  except (soundfile.SoundFileError, RuntimeError, OSError):
    return None  # not for libsndfile: read_audio asks ffmpeg, and says what is wrong
  if not spool.tell():
    return None
  spool.flush()
  return Sound(np.memmap(spool, np.float32, mode="r"))
