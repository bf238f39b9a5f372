"""What examination says of clips: good ones are clean, damage is found, and what they show is flagged."""

import os

import numpy as np
import pytest

from nwt_jax.prepare.options import Picture
from nwt_jax.prepare.write import records
from tests import media
from tests.preparing import examined, frames_of


def test_a_good_clip_is_clean(good):
  row = examined(good)
  assert (row.fault, row.flags) == ("", []) and row.facts["frames"] == 50
  assert row.length == pytest.approx(2.0, abs=0.03) and row.strip == 8 and row.print
  trimmed = examined(good, trim=True)
  assert trimmed.start == 0 and trimmed.length == row.length  # two seconds are not more than two


def test_fault_29_what_is_no_video_is_rejected(tmp_path):
  contents = {"empty": b"", "byte": b"x", "text": b"hello\n" * 100}
  contents["jpeg"] = records.encode_image(media.pictures(0, 1)[0], "jpeg")
  for name, content in contents.items():
    (tmp_path / f"{name}.mp4").write_bytes(content)
    row = examined(tmp_path / f"{name}.mp4")
    assert row.fault == "unreadable" and f"{name}.mp4" in row.reason and "\n" not in row.reason
  assert examined(tmp_path / "absent.mp4").fault == "unreadable"


def test_fault_30_damage_is_found(good, tmp_path):
  data = good.read_bytes()
  fast = media.remux(good, tmp_path / "fast.mp4", "-c", "copy", "-movflags", "+faststart").read_bytes()
  random = np.random.default_rng(0)
  middle = bytearray(fast)
  middle[len(fast) // 2 : len(fast) // 2 + 400] = random.bytes(400)
  for name, content in {
    "no_index": data[: len(data) // 2],
    "tail_gone": fast[: int(len(fast) * 0.7)],
    "head_gone": data[200:],
    "middle": bytes(middle),
  }.items():
    (tmp_path / "bad.mp4").write_bytes(content)
    assert examined(tmp_path / "bad.mp4").fault in ("damaged", "unreadable"), name


def test_a_stream_from_between_key_frames_is_found(tmp_path):
  """A decoder shows grey until the first key frame and reports nothing, so that only the pictures can tell."""
  frames = media.pictures(4, 75)
  frames[:12] = 128
  row = examined(media.record(tmp_path / "cut.mp4", frames, media.speech(4, 3.0)))
  assert row.fault == "mid_group" and "its first 12 pictures are grey" in row.reason


def test_the_damaged_recordings_of_grid_are_found():
  root = os.environ.get("NWT_DATA")
  if not root:
    pytest.skip("set NWT_DATA to a folder that holds grid_raw/ to examine damaged recordings")
  for name, fault in (("bbizzn", "mid_group"), ("brwa4p", "mid_group"), ("bbaf2n", ""), ("swwv8p", "")):
    assert examined(f"{root}/grid_raw/{name}.mpg").fault == fault


def test_fault_31_sound_that_is_missing_short_late_or_silent_is_told(good, tmp_path):
  frames, sound = media.pictures(2, 50), media.speech(2, 2.0)
  fault = lambda path: examined(path).fault
  assert fault(media.record(tmp_path / "mute.mp4", frames, None)) == "no_sound"
  assert fault(media.record(tmp_path / "blind.m4a", None, sound, encode=["-c:a", "aac"])) == "no_picture"
  for name, seconds in (("shorter", 2.0 - 1 / 25), ("longer", 2.0 + 1 / 25)):
    path = media.record(tmp_path / f"{name}.mp4", frames, media.speech(2, seconds))
    assert fault(path) == "" and len(frames_of(path, Picture(64, 64, 30, "png"))[0]) in (59, 60, 61)
  assert fault(media.record(tmp_path / "half.mp4", frames, media.speech(2, 1.0))) == "out_of_sync"
  late = media.remux(
    good, tmp_path / "late.mp4", "-itsoffset", "1", "-i", good, "-map", "0:v", "-map", "1:a", "-c", "copy"
  )
  assert fault(late) == "out_of_sync"
  flags = lambda sound, name: examined(media.record(tmp_path / name, frames, sound)).flags
  assert flags(np.zeros(48_000), "silent.mp4") == ["silent"]
  assert flags(np.clip(40 * sound, -1, 1), "clipped.mp4") == ["clipped"]
  swapped = ["-filter:a", "pan=stereo|c0=c0|c1=-1*c0", "-c:v", "copy"]
  row = examined(media.remux(good, tmp_path / "swapped.mp4", *swapped))
  assert (row.fault, row.flags) == ("", ["cancelled"])  # not silent: it is heard by one channel
  two = ["-map", "0:v", "-map", "1:a", "-map", "1:a", "-c:a:1", "pcm_s16le"]
  assert fault(media.record(tmp_path / "two.mkv", frames, sound, encode=[*media.FAST, *two])) == ""


def test_what_a_clip_shows_is_flagged(tmp_path):
  sound = media.speech(5, 3.0)
  moving = media.pictures(5, 75)
  shown = {
    "cut": np.concatenate([moving[:40], 255 - media.pictures(77, 35)]),
    "frozen": np.concatenate([moving[:30], np.repeat(moving[30:31], 45, axis=0)]),
    "black": np.concatenate([moving[:30], np.zeros_like(moving[:45])]),
  }
  for flag, frames in shown.items():
    row = examined(media.record(tmp_path / f"{flag}.mp4", frames, sound))
    assert row.fault == "" and flag in row.flags and len(set(row.flags) - {"cut", "frozen", "black"}) == 0
  assert "frozen" not in examined(tmp_path / "cut.mp4").flags
