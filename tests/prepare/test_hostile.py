"""Hostile media: files that are broken or made to hurt end with a reason; odd but whole ones come through intact."""

import json
import os
import pathlib
import socket
import threading
import time

import numpy as np
import pytest

from nwt_jax.data.clips import Clips
from nwt_jax.errors import InputError
from nwt_jax.io import audio, ffmpeg, probe, video
from nwt_jax.names import SPLITS
from nwt_jax.prepare.acquire import recordings, segments
from nwt_jax.prepare.options import Picture
from tests import media
from tests.preparing import examined, frames_of, prepare


def _picture(height=64, width=64, **options):
  return Picture(height, width, 30, "png", **options)


RATES = {"23.976": 24000 / 1001, "25": 25.0, "29.97": 30000 / 1001, "50": 50.0, "60": 60.0}


@pytest.mark.parametrize("name", [*RATES, "variable"])
def test_fault_32_sound_stays_within_a_frame_of_the_picture(tmp_path, name):
  if name == "variable":
    path = media.flash_and_beep(tmp_path / "60.mp4", 60.0)
    # Every frame that is not needed is dropped: gaps of one to four frames.
    drop = [
      "-vf",
      "select='gt(mod(n\\,7)\\,2)+gt(mod(n\\,11)\\,6)'",
      "-fps_mode",
      "vfr",
      "-c:v",
      "libx264",
      "-c:a",
      "copy",
    ]
    path = media.remux(path, tmp_path / "variable.mkv", *drop)
  else:
    path = media.flash_and_beep(tmp_path / "steady.mp4", RATES[name])
  assert examined(path).fault == ""
  frames, sound = frames_of(path, _picture())
  assert len(frames) == pytest.approx(3.2 * 30, abs=1 if name in RATES else 3)  # its last frames are dropped
  light = frames.reshape(len(frames), -1).mean(axis=1) > 150
  loud = np.array([np.abs(part).max() > 0.3 for part in np.array_split(sound[: 800 * len(frames)], len(frames))])
  flashes, beeps = (np.flatnonzero(np.diff(np.pad(x.astype(int), 1)) > 0) for x in (light, loud))
  assert len(flashes) == len(beeps) == 3
  assert np.abs(flashes - beeps).max() <= 1 and np.abs(flashes - np.array([24, 48, 72])).max() <= 1


def test_fault_32_segments_keep_sound_and_picture_together(tmp_path):
  path = media.flash_and_beep(tmp_path / "long.mp4", 25.0, at=(0.8, 2.8, 4.0, 5.6, 7.2), seconds=8.0)
  pieces = segments.split(path, tmp_path / "pieces", 2.0)
  assert [round(piece.start, 2) for piece in pieces] == [0.0, 2.4, 4.32, 6.24]  # key frames every 0.48 s
  found = 0
  for piece in pieces:
    frames, sound = frames_of(piece.path, _picture())
    light = frames.reshape(len(frames), -1).mean(axis=1) > 150
    loud = np.array([np.abs(part).max() > 0.3 for part in np.array_split(sound[: 800 * len(frames)], len(frames))])
    flashes, beeps = (np.flatnonzero(np.diff(np.pad(x.astype(int), 1)) > 0) for x in (light, loud))
    assert len(flashes) == len(beeps) and np.abs(flashes - beeps).max(initial=0) <= 1
    found += len(flashes)
  assert found == 5
  assert segments.split(path, tmp_path / "pieces", 2.0) == pieces  # taken as they are


def test_fault_33_odd_pictures_come_through(tmp_path):
  frames, sound = media.pictures(6, 25), media.speech(6, 1.0)
  x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "4", "-c:a", "aac"]
  kinds = {
    "odd.mkv": (frames[:, :71, :95], [*x264, "-pix_fmt", "yuv444p"]),
    "ten.mkv": (frames, [*x264, "-pix_fmt", "yuv420p10le"]),
    "alpha.mov": (frames, ["-c:v", "qtrle", "-pix_fmt", "argb", "-c:a", "pcm_s16le"]),
    "444.mkv": (frames, [*x264, "-pix_fmt", "yuv444p"]),
    "interlaced.mkv": (frames, [*x264, "-pix_fmt", "yuv420p", "-flags", "+ildct+ilme", "-x264opts", "tff=1"]),
    "wide.mp4": (frames[:, :, ::2], [*x264, "-pix_fmt", "yuv420p", "-aspect", "96:72"]),
  }
  for name, (pictures, encode) in kinds.items():
    path = media.record(tmp_path / name, pictures, sound, encode=encode)
    row = examined(path)
    assert row.fault == "", (name, row.reason)
    read = video.read_video(path)
    assert len(read) == 30 and read.shape[1] == pictures.shape[1]
    wanted = frames[:, : pictures.shape[1], : read.shape[2]]
    assert read.shape[2] == (95 if name == "odd.mkv" else 96), name
    error = np.abs(read[0].astype(float) - wanted[0]).mean()
    assert error < 8, (name, error)
  turned = media.remux(tmp_path / "wide.mp4", tmp_path / "upright.mp4", "-c", "copy")
  turned = media.remux(
    media.record(tmp_path / "plain.mp4", frames, sound),
    tmp_path / "turned.mp4",
    "-c",
    "copy",
    "-metadata:s:v:0",
    "rotate=90",
  )
  assert examined(turned).fault == ""


@pytest.mark.slow
def test_fault_34_bombs_are_refused_at_once(tmp_path):
  sound = ["-f", "lavfi", "-i", "anullsrc=r=8000:d=1", "-c:a", "flac"]
  make = lambda name, source, *codec: media.ffmpeg_to(tmp_path / name, "-f", "lavfi", "-i", source, *sound, *codec)
  huge = make("huge.mkv", "color=c=black:s=16000x12000:r=1:d=1", "-c:v", "mjpeg", "-q:v", "31")
  hours = make("hours.mkv", "color=c=black:s=16x16:r=1:d=36000", "-c:v", "ffv1")
  for path, faults in ((huge, ("damaged", "unreadable", "no_picture")), (hours, ("too_large",))):
    start = time.monotonic()
    row = examined(path)
    assert row.fault in faults and time.monotonic() - start < 2, row.reason


def test_fault_34_output_and_time_have_limits(good, monkeypatch):
  monkeypatch.setattr(ffmpeg, "MAX_BYTES", 1 << 20)
  with pytest.raises(InputError, match="unfolds to more than"):
    video.read_video(good, height=256, width=256)


def test_fault_35_disguised_playlists_open_nothing(good, tmp_path):
  heard = []
  with socket.create_server(("127.0.0.1", 0)) as server:
    server.settimeout(0.2)
    port = server.getsockname()[1]
    stop = threading.Event()

    def listen():
      while not stop.is_set():
        try:
          heard.append(server.accept())
        except TimeoutError:
          pass

    thread = threading.Thread(target=listen)
    thread.start()
    address = f"http://127.0.0.1:{port}/x.mp4"
    (tmp_path / "neighbour.mp4").write_bytes(good.read_bytes())
    texts = {
      "concat": "ffconcat version 1.0\nfile neighbour.mp4\n",
      "concat_url": f"ffconcat version 1.0\nfile {address}\n",
      "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{address}\n#EXT-X-ENDLIST\n",
      "dash": f'<?xml version="1.0"?><MPD><BaseURL>{address}</BaseURL></MPD>',
      "svg": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{address}"/></svg>',
    }
    for name, text in texts.items():
      (tmp_path / f"{name}.mp4").write_text(text)
      row = examined(tmp_path / f"{name}.mp4")
      assert row.fault == "unreadable", name
      with pytest.raises(InputError):
        video.read_video(tmp_path / f"{name}.mp4")
      with pytest.raises(InputError):
        segments.split(tmp_path / f"{name}.mp4", tmp_path / "pieces" / name)
    stop.set()
    thread.join()
  assert heard == []


def test_fault_36_odd_names_are_names(good, tmp_path):
  for name in ("-y.mp4", "%d.mp4", "a b ü 字.mp4", "pipe:0.mp4", "concat:a|b.mp4", "new\nline.mp4", "'quote\".mp4"):
    path = tmp_path / "in %d" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(good.read_bytes())
    assert examined(path).fault == "", name
    assert len(segments.split(path, tmp_path / "cut %d" / str(abs(hash(name))), 1.0)) == 2
  for bad in ("pipe:0", "concat:a|b", "http://127.0.0.1:9/x.mp4", "-", "%d.mp4"):
    with pytest.raises(InputError):
      recordings.find(bad)
  with pytest.raises(InputError, match="NUL"):
    recordings.find("a\0b")


def test_fault_38_a_hanging_decoder_is_ended_with_its_children(good, tmp_path, monkeypatch):
  fake = tmp_path / "ffmpeg"
  hang = f"sleep 600 & echo $! > {tmp_path}/child; wait"  # at this file alone: else it is the machine's fault
  fake.write_text(f'#!/bin/sh\ncase "$*" in *good.mp4*) {hang};; esac\nexec {ffmpeg.executable()} "$@"\n')
  fake.chmod(0o755)
  monkeypatch.setattr(ffmpeg, "executable", lambda: str(fake))
  monkeypatch.setattr(probe, "SECONDS", 3)
  start = time.monotonic()
  row = examined(good)
  assert row.fault == "unreadable" and "not done with it after 3 s" in row.reason
  assert time.monotonic() - start < 20
  child = int((tmp_path / "child").read_text())
  for _ in range(50):
    try:
      os.kill(child, 0)
      if pathlib.Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
        break
    except (ProcessLookupError, FileNotFoundError):
      break
    time.sleep(0.05)
  else:
    pytest.fail("what the decoder started still runs")


def test_fault_39_too_many_bad_clips_stop_the_preparation(good, tmp_path):
  (tmp_path / "in").mkdir()
  for i in range(3):
    (tmp_path / "in" / f"bad{i}.mp4").write_text("no video")
  media.record(tmp_path / "in" / "mute.mp4", media.pictures(1, 20), None)
  (tmp_path / "in" / "good.mp4").write_bytes(good.read_bytes())
  with pytest.raises(InputError, match=r"4 of 5 clips are at fault \(3 unreadable, 1 no_sound\), more than .*=0.5"):
    prepare(tmp_path / "out", input=str(tmp_path / "in"), height=16, width=16)
  assert not (tmp_path / "out").exists()
  made = prepare(tmp_path / "out", input=str(tmp_path / "in"), height=16, width=16, max_bad_fraction=0.8)
  assert len(made["skipped"]) == 4


def test_fault_43_too_little_data_is_said(good, tmp_path):
  from nwt_jax.data.batches import video_batches

  (tmp_path / "in").mkdir()
  (tmp_path / "in" / "good.mp4").write_bytes(good.read_bytes())
  prepare(tmp_path / "out", input=str(tmp_path / "in"), height=16, width=16)
  with pytest.raises(InputError, match="wanted windows of 99"):
    video_batches(tmp_path / "out", "train", 1, 99, 0)
  with pytest.raises(InputError, match="no clips for test|test"):
    video_batches(tmp_path / "out", "test", 1, 8, 0)


def test_fault_44_an_unknown_episode_lists_the_choices(folder, tmp_path):
  with pytest.raises(InputError, match="'purple'; the episodes are blue, green, red"):
    prepare(
      tmp_path / "o",
      input=str(folder),
      episodes=folder / "clips.csv",
      height=16,
      width=16,
      holdout_episodes=["purple"],
    )


def test_fault_45_one_recording_under_two_names_stays_together(tmp_path):
  for seed in range(8):
    media.clip(tmp_path / "in" / f"c{seed}.mp4", seed)
  louder = ["-c:v", "mpeg2video", "-q:v", "6", "-c:a", "mp2", "-af", "volume=0.6", "-ss", "0.3"]
  for seed in (2, 5):  # another codec, another loudness, and less of it
    media.remux(tmp_path / "in" / f"c{seed}.mp4", tmp_path / "in" / f"again{seed}.mpg", *louder)
  made = prepare(tmp_path / "out", input=str(tmp_path / "in"), height=16, width=16)
  assert sum(made["splits"].values()) == 10
  rows = {row["name"]: row for row in map(json.loads, (tmp_path / "out" / "manifest.jsonl").read_text().splitlines())}
  assert {name for name, row in rows.items() if "duplicate" in row["flags"]} == {"again2", "again5"}
  for seed in (2, 5):
    assert rows[f"c{seed}"]["split"] == rows[f"again{seed}"]["split"]
    assert rows[f"c{seed}"]["source"] == rows[f"again{seed}"]["source"]
  places = {split: {row["name"] for row in rows.values() if row["split"] == split} for split in SPLITS}
  for split in SPLITS:
    assert {row["name"] for row in Clips(tmp_path / "out", split).index} == places[split]


def test_the_mel_of_a_part_is_its_own(good):
  whole, part = audio.read_audio(good), audio.read_audio(good, start=0.5, length=1.0)
  assert len(part) == pytest.approx(24_000, abs=600)
  shift = np.correlate(whole, part[:12_000]).argmax()
  assert abs(shift - 12_000) < 30
