"""The log-mel spectrogram that conditions the priors (appendix D.8, Table 7)."""

from functools import lru_cache

import numpy as np

from nwt_jax.io.audio import SAMPLE_RATE

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
BLOCK_FRAMES = 1024  # video frames whose mel is computed at once, so that memory does not grow with the recording


def log_mel(audio: np.ndarray, frames: int | None = None) -> np.ndarray:
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
  audible = min(frames, -(-((len(audio) + FFT_SIZE // 2) // HOP + 1) // MEL_FRAMES)) if len(audio) else 0
  padded = np.pad(audio, (FFT_SIZE // 2, FFT_SIZE + MEL_FRAMES * HOP))
  window, filters = _window(), mel_filters().T
  for start in range(0, audible, BLOCK_FRAMES):
    stop = min(start + BLOCK_FRAMES, audible)
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
def mel_filters() -> np.ndarray:
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
