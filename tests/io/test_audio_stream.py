"""Sound that arrives: the samples and mel of all of it at once, however it is cut, and no more held than needed."""

import numpy as np
import pytest
import soundfile

from nwt_jax.errors import InputError
from nwt_jax.io import audio, audio_stream


def voice(samples, seed=0):
  return (0.1 * np.random.default_rng(seed).normal(size=samples)).astype(np.float32)


def cuts(kind, total):
  """Lengths of pieces that sum to `total`."""
  if kind == "ones":
    return [1] * total
  if kind == "whole":
    return [total]
  draw, lengths = np.random.default_rng(1), []
  while (rest := total - sum(lengths)) > 0:
    lengths += [min(rest, int(draw.choice([0, 1, 7, 799, 801, 5000])))]
  return [0, *lengths, 0]


def fed(samples, rate, kind):
  live = audio_stream.Live(rate)
  for piece in np.split(samples, np.cumsum(cuts(kind, len(samples)))[:-1]):
    live.feed(piece)
  live.finish()
  return live


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("kind", ["whole", "ones", "mixed"])
def test_sound_in_pieces_is_the_sound_at_once(rate, kind):
  samples = voice(rate // 2 + 13)
  np.testing.assert_array_equal(fed(samples, rate, kind).samples, audio_stream.from_array(samples, rate).samples)


def test_sound_of_a_long_file_is_the_sound_at_once(tmp_path, monkeypatch):
  monkeypatch.setattr(audio_stream, "LONG", 1.0)
  for rate, length in ((44_100, 2 * 44_100 + 5), (24_000, 30_000), (16_000, 4 * audio.BLOCK // 8)):
    soundfile.write(tmp_path / "a.wav", voice(length), rate, subtype="FLOAT")
    for block in (audio.BLOCK, length // 2, 1000):  # of which the second ends where the file does
      monkeypatch.setattr(audio, "BLOCK", block)
      opened = audio_stream.open_sound(tmp_path / "a.wav").samples
      assert isinstance(opened, np.memmap)
      np.testing.assert_array_equal(opened, audio_stream.from_array(voice(length), rate).samples)


def test_stereo_and_integers_in_pieces_are_as_at_once():
  stereo = (voice(9000).reshape(-1, 2) * 32767).astype(np.int16)
  live = audio_stream.Live(24_000)
  for piece in np.array_split(stereo, 7):
    live.feed(piece)
  np.testing.assert_array_equal(live.samples, audio_stream.from_array(stereo, 24_000).samples)


def test_the_mel_of_a_part_is_that_part_of_the_mel():
  """Bit for bit, wherever the part begins, however long it is: what a stream hears must be what a file gives."""
  recording = audio_stream.Sound(voice(24_000 + 123))
  whole = audio.log_mel(recording.samples)
  assert len(whole) == 4 * recording.frames == 4 * 31
  for size in range(1, 32):
    for start in range(1 - size, recording.frames):
      inside = slice(max(start, 0), min(start + size, recording.frames))
      mel = recording.mel(start, start + size).reshape(size, 4, 80)
      wanted = whole.reshape(-1, 4, 80)[inside]
      np.testing.assert_array_equal(mel[inside.start - start : inside.stop - start], wanted)


def test_a_frame_is_ready_when_nothing_to_come_changes_its_mel():
  samples = voice(5 * 800)
  wanted = audio_stream.Sound(samples).mel(0, 5)
  live, seen = audio_stream.Live(24_000), 0
  for number, sample in enumerate(samples, 1):
    live.feed(sample[None])
    if live.ready > seen:
      seen = live.ready
      assert number == 800 * seen + audio_stream.MEL_AHEAD  # 8.3 ms after the frame; one sample less would not do:
      np.testing.assert_array_equal(live.mel(0, seen), wanted[: 4 * seen])
      early = audio_stream.Sound(samples[: number - 2]).mel(0, seen)
      assert (early[-1] != wanted[4 * seen - 1]).any()
  assert seen == 4
  live.finish()
  assert live.ready == live.frames == 5
  np.testing.assert_array_equal(live.mel(0, 5), wanted)


def test_what_is_forgotten_is_freed_and_changes_no_mel():
  samples = voice(40 * 800)
  live, whole = audio_stream.Live(24_000), audio_stream.Sound(samples)
  for frame in range(1, 40):
    live.feed(samples[(frame - 1) * 800 : frame * 800])
    live.forget(frame - 8)
    assert len(live.samples) <= 9 * 800
    if live.ready > 8:
      np.testing.assert_array_equal(live.mel(live.ready - 7, live.ready), whole.mel(live.ready - 7, live.ready))
  assert live.length == 39 * 800 and live.frames == 39
  live.forget(10_000)  # no more than there is
  assert live.length == 39 * 800 and not len(live.samples)


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100, 48_000])
def test_the_resampler_lags_by_no_more_than_is_said(rate):
  lag = audio_stream.resampling_lag(rate)
  assert (lag == 0) == (rate == 24_000) and lag < 0.1
  live, seen, latest = audio_stream.Live(rate), 0, 0.0
  for number in range(1, rate + 1):
    live.feed(np.zeros(1, np.float32))
    if live.length > seen:
      latest, seen = max(latest, number / rate - (seen + 1) / 24_000), live.length
  assert lag - 1e-3 < latest <= lag + 1e-9


def test_bad_pieces_are_refused_in_one_line_and_do_no_harm():
  live = audio_stream.Live(24_000)
  live.feed(voice(10))
  for bad in (np.full(5, np.nan, np.float32), np.zeros(5, np.int64), np.zeros((2, 2, 2), np.float32)):
    with pytest.raises(InputError) as error:
      live.feed(bad)
    assert len(str(error.value).splitlines()) == 1
  assert live.length == 10
  live.finish()
  live.finish()
  with pytest.raises(InputError, match="after its end"):
    live.feed(voice(10))
  for rate in (0, -1, float("nan"), None):
    with pytest.raises(InputError, match="rate"):
      audio_stream.Live(rate)
