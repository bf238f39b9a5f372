"""Sound in and out, and the log-mel spectrogram that the priors hear (appendix D.8, Table 7)."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from nwt_jax.errors import InputError
from nwt_jax.io import ffmpeg, wave
from nwt_jax.io.downmix import MOST, Downmix
from nwt_jax.io.probe import probe

SAMPLE_RATE = 24_000  # PAPER: D.8
MEL_BINS, FFT_SIZE, HOP, WINDOW = 80, 1024, 200, 800  # PAPER: Table 7
MEL_LOW, MEL_HIGH = 0.0, 8000.0  # PAPER: Table 7, Hz
MEL_FLOOR = 1e-5  # GAP: the paper gives no logarithm; ours is the natural one of max(mel, 1e-5)
MEL_FRAMES = 4  # mel rows per video frame: 24000 / 200 / 30
MEL_ARGUMENTS = {
  "sample_rate": SAMPLE_RATE,
  "n_mels": MEL_BINS,
  "n_fft": FFT_SIZE,
  "hop_length": HOP,
  "win_length": WINDOW,
  "center": True,
  "pad_mode": "constant",
  "power": 2.0,
  "fmin": MEL_LOW,
  "fmax": MEL_HIGH,
  "scale": "slaney",
  "log": "natural",
  "floor": MEL_FLOOR,
}
# libsndfile opens these itself; ffmpeg opens the rest
SOUND_SUFFIXES = {".wav", ".flac", ".aif", ".aiff", ".ogg", ".au", ".snd", ".w64", ".rf64", ".caf"}
UNKNOWN_FRAMES = 1 << 62  # libsndfile's answer for a FLAC that does not say is above
BLOCK = 1 << 18  # samples read at once
BLOCK_SAMPLES = 1 << 20  # samples written at once
BLOCK_FRAMES = 1024  # video frames whose mel is computed at once, so that memory does not grow with the recording


def read_audio(path, sample_rate=SAMPLE_RATE, start=0.0, length=None):
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


def read_blocks(path, begin, start=0.0, length=None):
  """Reads sound as mono, block by block, so that memory does not grow with the recording.

  Args: path, start, length: as for read_audio. begin: called with the samples per second, it returns what takes each
    block, float32 [samples]; called again where the file has to be read again from its start.
  Returns: the channel that was taken because the channels cancel; None: their mix.
  Raises: InputError: as read_audio.
  """
  path = ffmpeg.check_file(path, "sound")
  mix = _read(path, begin, None, start, length)
  if not mix.samples:
    raise InputError(f"{path} holds no sound (0 samples); give a recording of at least one video frame (1/30 s)")
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
  """By ffmpeg. options: of its input."""
  if not probe(path).has_audio:
    raise InputError(f"{path} holds no sound stream; give a recording with sound")
  # first_pts=0 puts silence where the sound starts after the picture; async=1 fills gaps and changes no pitch.
  output = ["-map", "0:a:0", "-af", "aresample=async=1:first_pts=0", *wave.OUTPUT]
  reader = wave.Reader(begin, only)
  ffmpeg.decode(path, output, "sound", start, length, before=[*wave.INPUT, *options], take=reader.feed)
  return reader.mix


def resample(samples, rate, new_rate):
  """Changes the sample rate with soxr's high quality filter.

  Args: samples: float32 [samples]. rate, new_rate: samples per second.
  Returns: float32 [about samples * new_rate / rate].
  """
  if rate == new_rate:
    return np.ascontiguousarray(samples, np.float32)
  import soxr

  return soxr.resample(np.asarray(samples, np.float32), rate, new_rate, quality="HQ").astype(np.float32)


def write_wav(path, audio, sample_rate=SAMPLE_RATE):
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


def to_int16(audio):
  """Quantises float samples to 16 bits. Args: audio: float [samples]. Returns: int16 [samples]."""
  return np.clip(np.round(np.asarray(audio, np.float64) * 32767), -32768, 32767).astype(np.int16)


def from_int16(samples):
  """Undoes to_int16. Args: samples: int16 [samples]. Returns: float32 [samples]."""
  return np.asarray(samples, np.float32) / np.float32(32767)


def log_mel(audio, frames=None):
  """Natural-log mel spectrogram: librosa.feature.melspectrogram with Table 7's arguments, then log(max(mel, 1e-5)).

  Row r looks at 800 samples around sample 200 r, with silence outside the recording; video frame f owns rows
  4 f .. 4 f + 3. NumPy computes it, because librosa's first spectrogram costs seconds of imports.

  Args:
    audio: float [samples] at 24 kHz.
    frames: video frames to cover: exactly 4 * frames rows, cut or padded with silence. None: the fewest whole frames
      that cover the sound.
  Returns:
    float32 [s, 80] with s = 4 * frames.
  Source: D.8, Table 7.
  """
  audio = np.asarray(audio, np.float32)
  if audio.ndim != 1:
    raise ValueError(f"log_mel takes mono sound [samples], not {audio.shape}")
  if frames is None:
    frames = -(-len(audio) // (HOP * MEL_FRAMES))
  mel = np.full((MEL_FRAMES * frames, MEL_BINS), np.log(MEL_FLOOR), np.float32)
  # librosa gives one row per hop and one more at the end; a frame that only sees silence is the floor already.
  heard = min(frames, -(-((len(audio) + FFT_SIZE // 2) // HOP + 1) // MEL_FRAMES)) if len(audio) else 0
  padded = np.pad(audio, (FFT_SIZE // 2, FFT_SIZE + MEL_FRAMES * HOP))
  window, filters = _window(), mel_filters().T
  for start in range(0, heard, BLOCK_FRAMES):
    stop = min(start + BLOCK_FRAMES, heard)
    strip = padded[start * MEL_FRAMES * HOP : (stop * MEL_FRAMES - 1) * HOP + FFT_SIZE]
    slices = np.lib.stride_tricks.sliding_window_view(strip, FFT_SIZE)[::HOP]
    spectrum = np.fft.rfft(slices * window)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    # A product a frame, all of one shape: BLAS rounds by the number of rows, and a part must equal the whole's.
    bands = power.reshape(stop - start, MEL_FRAMES, -1) @ filters
    mel[start * MEL_FRAMES : stop * MEL_FRAMES] = np.log(np.maximum(bands, MEL_FLOOR)).reshape(-1, MEL_BINS)
  return mel


def _window():
  # A periodic Hann window of 800 samples in the middle of 1024, as librosa pads it.
  hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
  return np.pad(hann, (FFT_SIZE - WINDOW) // 2)


@lru_cache(maxsize=1)
def mel_filters():
  """Slaney's mel filterbank, as librosa.filters.mel gives it: linear below 1 kHz, logarithmic above, unit area.

  Returns: float64 [80, 513]; read-only, because it is shared.
  """
  step, knee, ratio = 200 / 3, 1000.0, np.log(6.4) / 27

  def to_mel(hertz):
    return hertz / step if hertz < knee else knee / step + np.log(hertz / knee) / ratio

  mels = np.linspace(to_mel(MEL_LOW), to_mel(MEL_HIGH), MEL_BINS + 2)
  edges = np.where(mels < knee / step, mels * step, knee * np.exp(ratio * (mels - knee / step)))
  bins = np.fft.rfftfreq(FFT_SIZE, 1 / SAMPLE_RATE)
  rise = (bins[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
  fall = (edges[2:, None] - bins[None]) / np.diff(edges)[1:, None]
  filters = np.maximum(0, np.minimum(rise, fall)) * (2 / (edges[2:] - edges[:-2]))[:, None]
  filters.flags.writeable = False
  return filters
