"""Video: colours, sizes and rates in; sound in time with the picture, and no half file, out."""

import os
import subprocess

import numpy as np
import pytest

from nwt_jax.errors import InputError
from nwt_jax.io import audio, ffmpeg, video
from nwt_jax.io.box import Box


def make(path, *arguments):
  subprocess.run([ffmpeg.executable(), "-v", "error", "-y", *map(str, arguments), str(path)], check=True)
  return path


def gradient(frames=12, height=48, width=40):
  """Smooth frames with a different red, green and blue; red brightens with time."""
  down, across = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
  one = np.stack([0 * down + 0 * across, 40 + 160 * down + 0 * across, 30 + 0 * down + 90 * across], -1)
  video = np.repeat(one[None], frames, 0)
  video[..., 0] = np.linspace(60, 220, frames)[:, None, None]
  return video.round().astype(np.uint8)


def test_what_is_written_is_read_in_the_same_colours(tmp_path):
  frames = gradient()
  video.write_video(tmp_path / "new" / "a.mp4", frames)
  back = video.read_video(tmp_path / "new" / "a.mp4")
  assert back.shape == frames.shape and back.dtype == np.uint8
  assert np.abs(back.astype(int) - frames).mean() < 2.5
  assert np.abs(back.astype(int) - frames).reshape(-1, 3).mean(0).max() < 4  # no channel is swapped or tinted
  assert os.listdir(tmp_path / "new") == ["a.mp4"]
  info = video.probe(tmp_path / "new" / "a.mp4")
  assert (info.width, info.height, info.fps, info.video_codec, info.has_audio) == (40, 48, 30, "h264", False)


def test_odd_sizes_gain_an_edge(tmp_path):
  frames = gradient(4, 47, 39)
  video.write_video(tmp_path / "a.mp4", frames)
  back = video.read_video(tmp_path / "a.mp4")
  assert back.shape == (4, 48, 40, 3)
  assert np.abs(back[:, :47, :39].astype(int) - frames).mean() < 2.5
  assert np.abs(back[:, 47].astype(int) - back[:, 46]).mean() < 6


def test_sound_is_in_time_with_the_picture(tmp_path):
  # A white frame and a click together at frames 10 and 40; both must come back within a frame (1/30 s).
  frames, samples = np.zeros((60, 32, 32, 3), np.uint8), np.zeros(48_000, np.float32)
  for event in (10, 40):
    frames[event] = 255
    samples[event * 800 : event * 800 + 240] = np.sin(np.arange(240))
  with video.VideoWriter(tmp_path / "a.mp4", 30, 32, 32, audio=samples) as writer:
    for start in range(0, 60, 7):
      writer.write(frames[start : start + 7])
  assert writer.frames == 60
  seen = video.read_video(tmp_path / "a.mp4")
  heard = audio.read_audio(tmp_path / "a.mp4")
  assert len(seen) == 60 and abs(len(heard) - 48_000) < 1600
  np.testing.assert_array_equal(np.flatnonzero(seen.mean((1, 2, 3)) > 128), [10, 40])
  for event in (10, 40):
    window = np.abs(heard[event * 800 - 4000 : event * 800 + 4000])
    assert abs(np.flatnonzero(window > 0.5 * window.max())[0] - 4000) < 400


@pytest.mark.parametrize(
  "rate, wanted", [("24000/1001", 30.03), ("25", 30), ("30000/1001", 30), ("50", 30), ("60", 30)]
)
def test_other_rates_become_30_and_keep_their_duration(tmp_path, rate, wanted):
  # The picture turns white at 0.5 s of 1 s.
  source = f"color=black:size=32x32:rate={rate}:duration=1,drawbox=color=white:t=fill:enable='gte(t,0.499)'"
  make(tmp_path / "a.mp4", "-f", "lavfi", "-i", source)
  frames = video.read_video(tmp_path / "a.mp4")
  assert abs(len(frames) - wanted) <= 1
  assert abs(int(np.argmax(frames.mean((1, 2, 3)) > 128)) - 15) <= 1


def test_a_late_picture_or_sound_keeps_its_delay(tmp_path):
  make(tmp_path / "v.mp4", "-f", "lavfi", "-i", "color=white:size=32x32:rate=30:duration=1")
  audio.write_wav(tmp_path / "a.wav", np.sin(np.arange(24_000) / 5))
  late = ["-i", tmp_path / "v.mp4", "-itsoffset", "0.5", "-i", tmp_path / "a.wav", "-c:v", "copy"]
  make(tmp_path / "late.mkv", *late)
  heard = audio.read_audio(tmp_path / "late.mkv")
  assert abs(int(np.argmax(np.abs(heard) > 0.3)) - 12_000) < 400
  assert len(video.read_video(tmp_path / "late.mkv")) == 30


def test_frames_are_scaled_and_turned_as_shown(tmp_path):
  video.write_video(tmp_path / "a.mp4", gradient(3, 64, 64))
  assert video.read_video(tmp_path / "a.mp4", height=32, width=24).shape == (3, 32, 24, 3)
  small = video.read_video(tmp_path / "a.mp4", height=16, width=16)
  averages = gradient(3, 64, 64).reshape(3, 16, 4, 16, 4, 3).mean((2, 4))
  assert np.abs(small - averages).mean() < 3
  make(tmp_path / "b.mp4", "-display_rotation", "90", "-i", tmp_path / "a.mp4", "-c", "copy")
  turned = video.read_video(tmp_path / "b.mp4").astype(int)
  assert np.abs(turned - np.rot90(gradient(3, 64, 64), 1, (1, 2))).mean() < 4
  with pytest.raises(ValueError, match="both"):
    video.read_video(tmp_path / "a.mp4", height=16)


def test_a_box_is_cut_out_of_the_picture_as_shown(tmp_path):
  whole = gradient(3, 64, 48)
  video.write_video(tmp_path / "a.mp4", whole)
  box = Box.parse("30x20+10+40")
  part = video.read_video(tmp_path / "a.mp4", crop=box)
  assert np.abs(part.astype(int) - whole[:, 40:60, 10:40]).mean() < 3
  assert video.read_video(tmp_path / "a.mp4", height=10, width=15, crop=box).shape == (3, 10, 15, 3)
  turned = make(tmp_path / "b.mp4", "-display_rotation", "90", "-i", tmp_path / "a.mp4", "-c", "copy")
  part = video.read_video(turned, crop=Box.parse("30x20+30+20")).astype(int)
  assert np.abs(part - np.rot90(whole, 1, (1, 2))[:, 20:40, 30:60]).mean() < 4
  for path, text in (("a.mp4", "30x20+19+40"), ("a.mp4", "48x80+0+0"), ("b.mp4", "40x60+0+0"), ("b.mp4", "20x40+0+20")):
    with pytest.raises(InputError, match="box .* reaches outside|cannot be read"):
      video.read_video(tmp_path / path, crop=Box.parse(text))
  for text in ("30x20", "30x20+1", "0x20+1+1", "-3x20+1+1", "axb+1+1"):
    with pytest.raises(InputError, match="write WIDTHxHEIGHT"):
      Box.parse(text)


def test_the_file_says_that_it_is_generated(tmp_path):
  video.write_video(tmp_path / "a.mp4", gradient(2))
  command = [ffmpeg.executable(), "-v", "error", "-i", str(tmp_path / "a.mp4"), "-f", "ffmetadata", "-"]
  said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
  assert "comment=Generated by nwt_jax" in said


def test_failures_leave_nothing_behind(tmp_path):
  with pytest.raises(RuntimeError, match="ours"), video.VideoWriter(tmp_path / "a.mp4", 30, 48, 40) as writer:
    writer.write(gradient())
    raise RuntimeError("ours")
  assert os.listdir(tmp_path) == []
  with pytest.raises(InputError, match="killed"), video.VideoWriter(tmp_path / "a.mp4", 30, 48, 40) as writer:
    writer.write(gradient())
    writer._process.kill()
    writer._process.wait()
    writer.write(gradient())
  assert os.listdir(tmp_path) == []
  with pytest.raises(ValueError, match="no frame"), video.VideoWriter(tmp_path / "a.mp4", 30, 48, 40):
    pass
  with pytest.raises(ValueError, match="uint8"), video.VideoWriter(tmp_path / "a.mp4", 30, 48, 40) as writer:
    writer.write(gradient().astype(np.float32))
  (tmp_path / "file").touch()
  with pytest.raises(InputError, match="cannot write"):
    video.write_video(tmp_path / "file" / "a.mp4", gradient())
  (tmp_path / "folder.mp4").mkdir()
  with pytest.raises(InputError, match="cannot write"):
    video.write_video(tmp_path / "folder.mp4", gradient())
  assert sorted(os.listdir(tmp_path)) == ["file", "folder.mp4"]


def test_bad_video_is_refused_in_one_line(tmp_path):
  def refused(path, word):
    with pytest.raises(InputError, match=word) as caught:
      video.read_video(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)

  refused(tmp_path / "missing.mp4", "does not exist")
  (tmp_path / "text.mp4").write_text("not a video\n" * 99)
  refused(tmp_path / "text.mp4", "not a sound or video file")
  audio.write_wav(tmp_path / "a.wav", np.zeros(2400))
  refused(tmp_path / "a.wav", "no picture stream")
  whole = video.write_video(tmp_path / "a.mp4", gradient()) or (tmp_path / "a.mp4").read_bytes()
  (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 3])
  with pytest.raises(InputError):
    video.read_video(tmp_path / "half.mp4")
  (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {tmp_path / 'a.mp4'}\n")
  refused(tmp_path / "list.mp4", "not a sound or video file")


def test_odd_names_are_names(tmp_path):
  for name in ("-i.mp4", "a b%d é.mp4", "concat:a.mp4", "http:a.mp4", "'quote\".mp4"):
    video.write_video(tmp_path / name, gradient(2))
    assert len(video.read_video(tmp_path / name)) == 2
