"""Sound files in and out: any file to mono samples at 24 kHz (appendix D.8), samples to WAV."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nwt_jax.errors import InputError, MediaError
from nwt_jax.io import ffmpeg, wave
from nwt_jax.io.downmix import MOST, Downmix
from nwt_jax.io.probe import probe

SAMPLE_RATE = 24_000  # PAPER: D.8
# libsndfile opens these itself; ffmpeg opens the rest
SOUND_SUFFIXES = {".wav", ".flac", ".aif", ".aiff", ".ogg", ".au", ".snd", ".w64", ".rf64", ".caf"}
UNKNOWN_FRAMES = 1 << 62  # libsndfile's answer for a FLAC that does not say is above
BLOCK = 1 << 18  # samples read at once
BLOCK_SAMPLES = 1 << 20  # samples written at once


def read_audio(
  path: str | os.PathLike, sample_rate: int = SAMPLE_RATE, start: float = 0.0, length: float | None = None
) -> np.ndarray:
  """Reads any sound file, or the first sound stream of a video, as mono.

  Sound and picture of a video share one clock: where the sound starts after the picture, silence comes first. Where
  the channels cancel, one of them is taken (see downmix.Downmix).

  Args:
    path: a file that libsndfile or ffmpeg can open.
    sample_rate: samples per second of the result.
    start, length: the part to read, seconds; None: to the end.
  Returns:
    float32 [samples], about -1 to 1, all finite.
  Raises:
    InputError: missing or empty file, not sound, no sound stream, no samples, NaN or infinite samples, or samples far
      beyond full scale.
  """
  parts, rate = [], 0

  def begin(new_rate):
    nonlocal rate
    rate = new_rate
    parts.clear()
    return parts.append

  read_blocks(path, begin, start, length)
  return resample(np.concatenate(parts), rate, sample_rate)


def read_blocks(
  path: str | os.PathLike, begin: Callable, start: float = 0.0, length: float | None = None
) -> int | None:
  """Reads sound as mono, block by block, so that memory does not grow with the recording.

  Args: path, start, length: see read_audio. begin: called with the samples per second, it returns what takes each
    block, float32 [samples]; called again where the file has to be read again from its start.
  Returns: the channel that was taken because the channels cancel; None: their mix.
  Raises: InputError: see read_audio.
  """
  path = ffmpeg.check_file(path, "sound")
  mix = _read(path, begin, None, start, length)
  if not mix.samples:
    raise MediaError(f"{path} holds no sound (0 samples); give a recording of at least one video frame (1/30 s)")
  mix.check(str(path))
  channel = mix.cancelled
  if channel is not None:
    _read(path, begin, channel, start, length)
  return channel


def _read(path, begin, only, start, length):
  """Reads all of the part. only: a channel to take instead of the mix. Returns: the Downmix, which has seen it."""
  own = path.suffix.lower() in SOUND_SUFFIXES
  if own and (mix := _read_sound(path, begin, only, start, length, 2)):
    return mix  # more channels are for ffmpeg, which reads where they belong
  try:
    mix = _read_track(path, begin, only, start, length)
    with open(path, "rb") as file:
      if not mix.samples and file.read(4) == b"RF64":  # a streamed one, which ffmpeg takes at its word
        mix = _read_track(path, begin, only, start, length, ["-ignore_length", "1"])
    return mix
  except InputError:
    if own and (mix := _read_sound(path, begin, only, start, length, MOST)):
      return mix
    raise


def _read_sound(path, begin, only, start, length, most):
  """By libsndfile; None for what it does not open or whose length it does not know: a mislabelled file, a recording
  that went through a pipe. ffmpeg looks at their bytes and has the last word."""
  import soundfile

  try:
    with soundfile.SoundFile(path) as file:
      if not 0 < file.frames < UNKNOWN_FRAMES or file.channels > most:
        return None
      first = min(round(start * file.samplerate), file.frames)
      left = file.frames - first if length is None else round(length * file.samplerate)
      file.seek(first)
      mix, take = Downmix(file.channels, only=only), begin(file.samplerate)
      while left > 0 and len(block := file.read(min(BLOCK, left), dtype="float32", always_2d=True)):
        take(mix(block))
        left -= len(block)
      return mix
  except (soundfile.SoundFileError, RuntimeError):
    return None


def _read_track(path, begin, only, start, length, options=()):
  """Reads sound by ffmpeg. Args: options: ffmpeg's, for its input."""
  if not probe(path).has_audio:
    raise MediaError(f"{path} holds no sound stream; give a recording with sound")
  # first_pts=0 puts silence where the sound starts after the picture; async=1 fills gaps and changes no pitch.
  output = ["-map", "0:a:0", "-af", "aresample=async=1:first_pts=0", *wave.OUTPUT]
  reader = wave.Reader(begin, only)
  ffmpeg.decode(path, output, "sound", start, length, before=[*wave.INPUT, *options], take=reader.feed)
  return reader.mix


def resample(samples: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
  """Changes the sample rate with soxr's high quality filter.

  Args: samples: float32 [samples]. rate, new_rate: samples per second.
  Returns: float32 [about samples * new_rate / rate].
  """
  if rate == new_rate:
    return np.ascontiguousarray(samples, np.float32)
  import soxr

  return soxr.resample(np.asarray(samples, np.float32), rate, new_rate, quality="HQ").astype(np.float32)


def write_wav(path: str | os.PathLike, audio: np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
  """Writes mono sound as a 16-bit WAV; samples outside [-1, 1] are clipped.

  Args: path: file to write; its folder is made. audio: float32 [samples]. sample_rate: samples per second.
  Raises: InputError: the file cannot be written.
  """
  import soundfile

  path = Path(path)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(path, "w", sample_rate, 1, subtype="PCM_16", format="WAV") as file:
      for start in range(0, len(audio), BLOCK_SAMPLES):
        file.write(to_int16(audio[start : start + BLOCK_SAMPLES]))
  except (OSError, soundfile.SoundFileError) as error:
    raise InputError(f"cannot write {path}: {error}; give a folder that can be written to") from error


def to_int16(audio: np.ndarray) -> np.ndarray:
  """Quantises float samples to 16 bits. Args: audio: float [samples]. Returns: int16 [samples]."""
  return np.clip(np.round(np.asarray(audio, np.float64) * 32767), -32768, 32767).astype(np.int16)


def from_int16(samples: np.ndarray) -> np.ndarray:
  """Undoes to_int16. Args: samples: int16 [samples]. Returns: float32 [samples]."""
  return np.asarray(samples, np.float32) / np.float32(32767)
