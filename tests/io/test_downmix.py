"""Several channels as one: the same loudness from every container and path, and a voice that is never mixed away."""

import logging
import struct
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nwt_jax.errors import InputError, MachineError
from nwt_jax.io import audio, audio_stream, ffmpeg
from nwt_jax.io.downmix import Downmix, gains
from tests import media

RATE = 24_000


def voices(channels, seconds=1.0):
  """float32 [samples channels]: another voice in each."""
  return np.stack([media.speech(seed, seconds) for seed in range(channels)], axis=1)


def convert(source, target, *options):
  command = [ffmpeg.executable(), "-v", "error", "-y", "-i", source, *options, target]
  subprocess.run(list(map(str, command)), check=True)
  return target


def decibels(samples, wanted):
  power = lambda x: np.mean(np.square(x, dtype=np.float64))
  return 10 * np.log10(power(samples) / power(wanted))


def test_one_channel_is_left_alone_and_two_are_averaged_to_the_bit():
  one, two = voices(1), voices(2)
  np.testing.assert_array_equal(Downmix(1)(one), one[:, 0])
  np.testing.assert_array_equal(Downmix(2)(two), two.mean(axis=1))


def test_surround_is_mixed_by_the_itu_and_a_voice_in_the_centre_is_as_loud_as_alone():
  half = 0.5**0.5
  assert gains(6) == gains(6, 0x60F) == gains(6, 0x3F) == (half, half, 1, 0, 0.5, 0.5)
  assert gains(8) == (half, half, 1, 0, 0.5, 0.5, 0.5, 0.5)
  assert gains(5, 0x10F) == (half, half, 1, 0, 0.5)  # 4.1
  assert gains(16) == (1 / 16,) * 16
  centre = np.zeros((RATE, 6), np.float32)
  centre[:, 2] = media.speech(0, 1.0)
  np.testing.assert_array_equal(Downmix(6)(centre), centre[:, 2])


def test_blocks_change_no_sample_of_a_mix():
  for channels in (2, 3, 6):
    samples, mix = voices(channels), Downmix(channels)
    parts = [mix(part) for part in np.split(samples, [1, 8, 9, 1000, 1001, 20_000])]
    np.testing.assert_array_equal(np.concatenate(parts), Downmix(channels)(samples))


@pytest.mark.parametrize("layout", ["stereo", "2.1", "3.0", "quad", "4.0", "5.0", "5.1", "5.1(side)", "6.1", "7.1"])
def test_a_recording_is_as_loud_in_every_container_with_and_without_labels(tmp_path, layout):
  """And in memory, and where the file is long, and as preparation hears it."""
  channels = {"stereo": 2, "quad": 4}.get(layout) or sum(map(int, layout.split("(")[0].split(".")))
  samples = voices(channels)
  if layout == "2.1":
    samples[:, 2] = 0  # AAC keeps the lowest tones alone of what is labelled so
  soundfile.write(tmp_path / "bare.wav", samples, RATE, subtype="FLOAT")
  labelled = ["-af", f"channelmap=channel_layout={layout}"] if channels > 2 else []
  convert(tmp_path / "bare.wav", tmp_path / "a.wav", *labelled, "-c:a", "pcm_s24le")
  files = [tmp_path / "bare.wav", tmp_path / "a.wav"]
  files += [convert(tmp_path / "a.wav", tmp_path / "a.mka", "-c:a", "pcm_f32le")]
  files += [convert(tmp_path / "a.wav", tmp_path / "a.m4a", "-b:a", f"{96 * channels}k")]
  soundfile.write(tmp_path / "a.flac", samples, RATE)  # FLAC labels by the number of channels
  wanted = audio_stream.from_array(samples, RATE).samples
  for path in [*files, tmp_path / "a.flac"]:
    assert abs(decibels(audio.read_audio(path), wanted)) < 0.5, path.name
    np.testing.assert_array_equal(audio_stream.open_sound(path).samples, audio.read_audio(path))


def test_the_shared_cases_of_surround_are_equally_loud():
  folder = Path(__file__).resolve().parents[3] / "shared" / "cases" / "08_downmix"
  if not folder.is_dir():
    pytest.skip("no ../shared/cases beside the checkout")
  wave, packed = (audio.read_audio(folder / f"speech_51.{suffix}") for suffix in ("wav", "m4a"))
  assert abs(decibels(wave, packed)) < 1


def swapped(seconds=1.0, level=0.8, hiss=0.02):
  """A voice whose second channel has swapped poles: quieter, with noise of its own."""
  voice = media.speech(3, seconds)
  noise = hiss * np.random.default_rng(0).normal(size=(len(voice), 2)).astype(np.float32) * np.abs(voice).max()
  return np.stack([voice, -level * voice], axis=1) + noise


@pytest.mark.parametrize("suffix", ["wav", "flac", "m4a", "mka"])
@pytest.mark.parametrize("long", [False, True])
def test_of_channels_that_cancel_the_loudest_is_taken_and_a_word_is_said(tmp_path, caplog, monkeypatch, suffix, long):
  if long:
    monkeypatch.setattr(audio_stream, "LONG", 0.5)
    monkeypatch.setattr(audio, "BLOCK", 5000)
  for level, hiss in ((1.0, 0.0), (0.8, 0.02)):
    samples = swapped(level=level, hiss=hiss)
    soundfile.write(tmp_path / "source.wav", samples, RATE, subtype="FLOAT")
    path = convert(tmp_path / "source.wav", tmp_path / f"a.{suffix}", *(["-b:a", "256k"] if suffix == "m4a" else []))
    caplog.clear()
    opened = audio_stream.open_sound(path).samples
    assert isinstance(opened, np.memmap) == long
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "channel 1 " in caplog.text and path.name in caplog.text
    assert abs(decibels(opened[:RATE], samples[:, 0])) < 0.3
    np.testing.assert_array_equal(opened, audio.read_audio(path))


def test_channels_that_only_differ_are_mixed_without_a_word(tmp_path, caplog):
  voice, other = media.speech(0, 1.0), media.speech(1, 1.0)
  for left, right in ((voice, other), (voice, 0 * voice), (voice, -0.2 * voice), (0 * voice, 0 * voice)):
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_array_equal(audio_stream.open_sound(tmp_path / "a.wav").samples, (left + right) / 2)
  assert not caplog.records


def test_a_voice_in_the_channel_that_a_mix_leaves_out_is_found(tmp_path, caplog):
  samples = np.zeros((RATE, 6), np.float32)
  samples[:, 3] = media.speech(0, 1.0)
  soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
  np.testing.assert_array_equal(audio_stream.open_sound(tmp_path / "a.wav").samples, samples[:, 3])
  assert "channel 4 " in caplog.text


def test_arrays_that_cancel_are_taken_by_one_channel_and_streams_say_so_once(caplog):
  samples = swapped(3.0)
  np.testing.assert_array_equal(audio_stream.from_array(samples, RATE).samples, samples[:, 0])
  assert len(caplog.records) == 1 and "channel 1 " in caplog.text
  caplog.clear()
  live = audio_stream.Live(RATE)
  for piece in np.split(samples, 100):
    live.feed(piece)
  live.finish()
  np.testing.assert_array_equal(live.samples, samples.mean(axis=1))  # as it came: what was sampled cannot be taken back
  assert len(caplog.records) == 1 and "samples[:, 0] alone" in caplog.text


def unsized(path, riff, data):
  """Writes other sizes into a WAV's header."""
  content = bytearray(path.read_bytes())
  place = content.index(b"data") + 4
  content[4:8], content[place : place + 4] = struct.pack("<I", riff), struct.pack("<I", data)
  path.write_bytes(content)


@pytest.mark.parametrize("riff, data", [(0, 0), (2**32 - 1, 2**32 - 1), (0, 2**32 - 1), (2**32 - 1, 0)])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_wav_whose_writer_did_not_know_its_size_is_read_whole(tmp_path, riff, data, channels):
  samples = np.round(voices(channels) * 2**15) / np.float32(2**15)
  soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="PCM_16")
  wanted = audio.read_audio(tmp_path / "a.wav")
  assert len(wanted) == RATE
  unsized(tmp_path / "a.wav", riff, data)
  np.testing.assert_array_equal(audio.read_audio(tmp_path / "a.wav"), wanted)
  np.testing.assert_array_equal(audio_stream.open_sound(tmp_path / "a.wav").samples, wanted)


@pytest.mark.parametrize("form", ["wav", "rf64", "flac", "au", "w64", "aiff", "caf", "ogg"])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_went_through_a_pipe_is_read_whole(tmp_path, form, channels):
  soundfile.write(tmp_path / "source.wav", voices(channels), RATE)
  output = {"ogg": ["-c:a", "flac", "-f", "ogg"], "rf64": ["-rf64", "always", "-f", "wav"]}.get(form, ["-f", form])
  command = [ffmpeg.executable(), "-v", "error", "-i", tmp_path / "source.wav", *output, "-"]
  path = tmp_path / f"a.{form}"
  path.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
  np.testing.assert_allclose(audio.read_audio(path), audio.read_audio(tmp_path / "source.wav"), atol=1e-6)
  if form != "ogg":  # which is one page
    path.write_bytes(path.read_bytes()[: -RATE // 2])  # and what is there of one that was cut short
    assert RATE // 3 < len(audio.read_audio(path)) < RATE


def test_a_long_recording_of_any_format_is_read_audio_to_the_bit_in_little_memory(tmp_path, monkeypatch):
  seconds, rate = 80, 48_000
  soundfile.write(tmp_path / "a.wav", np.tile(voices(2, 1.0), (seconds * rate // RATE, 1)), rate)
  paths = [convert(tmp_path / "a.wav", tmp_path / name) for name in ("a.m4a", "a.mp3", "a.mkv", "a.flac")]
  for path in paths:
    tracemalloc.start()
    opened = audio_stream.open_sound(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(opened.samples, np.memmap) and abs(opened.seconds - seconds) < 0.2
    # Its samples take 8 MB as mono at 24 kHz, and 31 MB as they are decoded.
    assert peak < 10e6 + 4 * audio_stream.LONG * audio_stream.SAMPLE_RATE, f"{path.name}: {peak / 1e6:.0f} MB"
    np.testing.assert_array_equal(opened.samples, audio.read_audio(path))


def test_a_part_of_a_file_is_that_part_of_its_samples(tmp_path):
  samples = voices(2, 3.0)
  for name in ("a.wav", "a.flac", "a.aiff"):
    soundfile.write(tmp_path / name, samples, RATE)
    whole = audio.read_audio(tmp_path / name)
    np.testing.assert_array_equal(audio.read_audio(tmp_path / name, start=0.5, length=1.25), whole[12_000:42_000])
    np.testing.assert_array_equal(audio.read_audio(tmp_path / name, start=2.0, length=9.0), whole[48_000:])
    with pytest.raises(InputError, match="0 samples"):
      audio.read_audio(tmp_path / name, start=3.5, length=1.0)


def test_a_file_of_16_bit_integers_written_as_floats_is_refused(tmp_path):
  soundfile.write(tmp_path / "a.wav", 30_000 * media.speech(0, 0.5), RATE, subtype="FLOAT")
  with pytest.raises(InputError, match="full scale is 1; divide 16-bit integers by 32768"):
    audio_stream.open_sound(tmp_path / "a.wav")
  for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"):
    soundfile.write(tmp_path / "b.wav", media.speech(0, 0.5), RATE, subtype=kind)
    np.testing.assert_allclose(audio.read_audio(tmp_path / "b.wav"), media.speech(0, 0.5), atol=0.01)


def test_a_full_temporary_disk_is_the_machines_fault(tmp_path, monkeypatch):
  class Full(audio_stream.tempfile.SpooledTemporaryFile):
    def write(self, data):
      raise OSError(28, "No space left on device")

  audio.write_wav(tmp_path / "a.wav", media.speech(0, 0.5))
  monkeypatch.setattr(audio_stream.tempfile, "SpooledTemporaryFile", Full)
  with pytest.raises(MachineError, match=r"no room in .*No space left on device"):
    audio_stream.open_sound(tmp_path / "a.wav")
