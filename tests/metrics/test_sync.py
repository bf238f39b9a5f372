"""The offset of sound against mouth: planted ones come back, and what does not belong together gives no answer."""

import numpy as np
import pytest

from nwt_jax.io import audio, video
from nwt_jax.metrics import sync
from tests import media


def _talk(seed, seconds, offset=0, noise=0.4):
  """A mouth that follows the loudness of a sound, which comes `offset` frames late. Returns: openings, log-mels."""
  random = np.random.default_rng(seed)
  frames = round(30 * seconds)
  loud = np.convolve(random.normal(size=frames + 60), np.hanning(9)[1:-1] / 2, mode="same")
  mel = np.repeat(loud[30 - offset : 30 - offset + frames, None], 4, axis=0) + 0.3 * random.normal(
    size=(4 * frames, 80)
  )
  mouth = loud[30 : 30 + frames] + noise * random.normal(size=frames)
  return mouth[1 :: sync.STEP], mel  # see test_a_look_is_a_frame_late


@pytest.mark.parametrize("offset", [-12, -6, 0, 6, 12])
def test_planted_offsets_come_back(offset):
  found = sync.estimate(*zip(*(_talk(seed, 4.0, offset) for seed in range(6)), strict=True))
  assert abs(found.lag - offset) <= 1 and found.known


def test_what_does_not_belong_together_gives_no_answer():
  for seed in range(20):
    mouths, _ = zip(*(_talk(seed + n, 4.0) for n in range(6)), strict=True)
    _, mels = zip(*(_talk(seed + n + 1000, 4.0) for n in range(6)), strict=True)
    assert not sync.estimate(list(mouths), list(mels)).known
  still = [np.zeros(60) for _ in range(4)]
  assert sync.estimate(still, [np.zeros((720, 80)) for _ in still]).confidence == 0
  assert sync.estimate([np.zeros(4)], [np.zeros((48, 80))]) == (0, 0.0, 0.0)  # too short for any offset
  with pytest.raises(ValueError, match="twelve rows a look"):
    sync.estimate(still, [np.zeros((240, 80)) for _ in still])


@pytest.mark.parametrize("rate", [25, 30, 60])
def test_a_look_is_a_frame_late(tmp_path, rate):
  """What sync counts on: a look at 10 a second shows what is on the screen a thirtieth after the even tenth."""
  level = np.linspace(0, 250, 3 * rate).astype(np.uint8)
  frames = np.repeat(level, 64 * 64 * 3).reshape(-1, 64, 64, 3)
  path = media.record(tmp_path / "ramp.mp4", frames, media.speech(0, 3.0), rate=str(rate), encode=media.FAST)
  looks = video.read_video(path, sync.RATE).mean(axis=(1, 2, 3))[2:-2]
  late = (np.interp(looks, level, np.arange(len(level)) / rate) - np.arange(2, len(looks) + 2) / 10) * 30
  assert late.mean() == pytest.approx(1.0, abs=0.35)
  assert len(audio.log_mel(np.zeros(24_000), 30)) == 12 * sync.RATE
