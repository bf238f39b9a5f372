"""Sound: the mel of Table 7 against librosa and against a plain NumPy oracle; resampling; bad files."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from nwt_jax.errors import InputError
from nwt_jax.io import audio, ffmpeg, mel


def voice(seconds, rate=24_000, seed=0):
  """Noise over a gliding tone: every mel band gets something."""
  time = np.arange(int(seconds * rate)) / rate
  noise = np.random.default_rng(seed).normal(size=len(time))
  return (0.3 * np.sin(2 * np.pi * (200 + 900 * time) * time) + 0.05 * noise).astype(np.float32)


def oracle(samples, rows):
  """Table 7 written out: a Hann window of 800 in 1024, zeros outside, power, Slaney's triangles, natural log."""
  padded = np.concatenate([np.zeros(512), samples, np.zeros(4096)])
  window = np.zeros(1024)
  window[112:912] = [0.5 - 0.5 * np.cos(2 * np.pi * n / 800) for n in range(800)]
  out = np.empty((rows, 80))
  for row in range(rows):
    power = np.abs(np.fft.rfft(padded[200 * row : 200 * row + 1024] * window)) ** 2
    out[row] = np.log(np.maximum(mel.mel_filters() @ power, 1e-5))
  return out


@pytest.mark.filterwarnings("ignore")  # librosa's own
def test_mel_equals_librosa_called_with_table_7():
  librosa = pytest.importorskip("librosa")
  bank = librosa.filters.mel(sr=24000, n_fft=1024, n_mels=80, fmin=0.0, fmax=8000.0, dtype=np.float64)
  np.testing.assert_allclose(mel.mel_filters(), bank, atol=1e-12)
  samples = voice(0.5)
  theirs = librosa.feature.melspectrogram(
    y=samples, sr=24000, n_mels=80, n_fft=1024, hop_length=200, win_length=800, center=True, pad_mode="constant",
    power=2.0, fmin=0.0, fmax=8000.0,
  )  # fmt: skip
  ours = mel.log_mel(samples)
  assert ours.shape == (60, 80) and ours.dtype == np.float32
  np.testing.assert_allclose(ours, np.log(np.maximum(theirs, 1e-5)).T[:60], atol=2e-5)


def test_mel_equals_the_oracle_at_any_length_and_across_blocks(monkeypatch):
  samples = voice(0.37)
  whole = mel.log_mel(samples)
  assert len(whole) == 4 * 12  # 8880 samples: eleven frames of 800 and a bit
  np.testing.assert_allclose(whole, oracle(samples, 48), atol=1e-5)
  monkeypatch.setattr(mel, "BLOCK_FRAMES", 5)
  np.testing.assert_array_equal(mel.log_mel(samples), whole)


def test_mel_covers_exactly_the_frames_asked_for():
  samples = voice(0.2)  # 6 frames
  assert mel.log_mel(samples, 4).shape == (16, 80)
  np.testing.assert_array_equal(mel.log_mel(samples, 4), mel.log_mel(samples)[:16])
  longer = mel.log_mel(samples, 9)
  assert longer.shape == (36, 80)
  np.testing.assert_array_equal(longer[:24], mel.log_mel(samples))
  assert (longer[27:] == np.float32(np.log(1e-5))).all() and (longer[25] > np.log(1e-5)).any()
  assert (mel.log_mel(np.zeros(0), 2) == np.float32(np.log(1e-5))).all()


@pytest.mark.parametrize("rate, channels", [(8_000, 1), (44_100, 2), (96_000, 1)])
def test_any_rate_and_stereo_become_24_khz_mono(tmp_path, rate, channels):
  time = np.arange(rate) / rate
  left = 0.5 * np.sin(2 * np.pi * 440 * time)
  soundfile.write(tmp_path / "a.wav", np.stack([left, 0 * left], 1) if channels == 2 else left, rate)
  samples = audio.read_audio(tmp_path / "a.wav")
  assert samples.dtype == np.float32 and abs(len(samples) - 24_000) <= 2
  wanted = 0.5 / channels * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)
  assert np.abs(samples[2000:22_000] - wanted[2000:22_000]).max() < 2e-3


def test_wav_round_trip_clips_and_keeps_16_bits(tmp_path):
  samples = np.array([0, 0.5, -0.5, 1, -1, 3, -3], np.float32)
  audio.write_wav(tmp_path / "deep" / "a.wav", samples)
  assert soundfile.info(tmp_path / "deep" / "a.wav").subtype == "PCM_16"
  np.testing.assert_allclose(audio.read_audio(tmp_path / "deep" / "a.wav"), np.clip(samples, -1, 1), atol=1e-4)
  np.testing.assert_array_equal(audio.to_int16(audio.from_int16(np.arange(-32767, 32768))), np.arange(-32767, 32768))


def test_a_mislabelled_file_is_read_for_what_it_is(tmp_path):
  audio.write_wav(tmp_path / "a.wav", voice(0.5))
  subprocess.run(
    [ffmpeg.executable(), "-v", "error", "-i", tmp_path / "a.wav", "-f", "mp3", tmp_path / "b.wav"], check=True
  )
  assert abs(len(audio.read_audio(tmp_path / "b.wav")) - 12_000) < 3000


def test_bad_sound_is_refused_in_one_line(tmp_path):
  def refused(path, *words):
    with pytest.raises(InputError) as caught:
      audio.read_audio(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    assert all(word in message for word in words), message

  refused(tmp_path / "missing.wav", "does not exist")
  refused(tmp_path, "not a file")
  (tmp_path / "empty.wav").touch()
  refused(tmp_path / "empty.wav", "empty")
  (tmp_path / "text.wav").write_text("RIFF is what a WAV begins with; this is a letter.\n" * 40)
  refused(tmp_path / "text.wav", "not a sound")
  soundfile.write(tmp_path / "none.wav", np.zeros(0), 24_000)
  refused(tmp_path / "none.wav", "0 samples")
  bad = voice(0.1)
  bad[7] = np.nan
  soundfile.write(tmp_path / "nan.wav", bad, 24_000, subtype="FLOAT")
  refused(tmp_path / "nan.wav", "NaN", "1 samples")
  silent = ["-f", "lavfi", "-i", "color=size=32x32:duration=0.2", tmp_path / "picture.mp4"]
  subprocess.run([ffmpeg.executable(), "-v", "error", *silent], check=True)
  refused(tmp_path / "picture.mp4", "no sound stream")


def test_sound_and_pictures_need_no_jax():
  code = "import nwt_jax.io.audio, nwt_jax.io.video, sys; sys.exit('jax' in sys.modules or 'librosa' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
