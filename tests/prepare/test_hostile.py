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
from nwt_jax.prepare import __main__ as prepare
from nwt_jax.prepare.acquire import recordings, segments
from nwt_jax.prepare.examine.clip import Look, examine
from nwt_jax.prepare.write import records
from nwt_jax.prepare.write.splits import SPLITS
from tests import media

LOOK = Look(False, False)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
  """A good clip of two seconds."""
  return media.clip(tmp_path_factory.mktemp("good") / "good.mp4", seed=1)


def test_a_good_clip_is_clean(good):
  row = examine(str(good), LOOK)
  assert (row["fault"], row["flags"]) == ("", []) and row["facts"]["frames"] == 50
  assert row["length"] == pytest.approx(2.0, abs=0.03) and row["picture"] and row["print"]
  trimmed = examine(str(good), Look(True, False))
  assert trimmed["start"] == 0 and trimmed["length"] == row["length"]  # two seconds are not more than two


def test_fault_29_what_is_no_video_is_rejected(tmp_path):
  contents = {"empty": b"", "byte": b"x", "text": b"hello\n" * 100}
  contents["jpeg"] = records.encode_image(media.pictures(0, 1)[0], "jpeg")
  for name, content in contents.items():
    (tmp_path / f"{name}.mp4").write_bytes(content)
    row = examine(str(tmp_path / f"{name}.mp4"), LOOK)
    assert row["fault"] == "unreadable" and f"{name}.mp4" in row["reason"] and "\n" not in row["reason"]
  assert examine(str(tmp_path / "absent.mp4"), LOOK)["fault"] == "unreadable"


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
    assert examine(str(tmp_path / "bad.mp4"), LOOK)["fault"] in ("damaged", "unreadable"), name


def test_a_stream_from_between_key_frames_is_found(tmp_path):
  """A decoder shows grey until the first key frame and reports nothing, so that only the pictures can tell."""
  frames = media.pictures(4, 75)
  frames[:12] = 128
  row = examine(str(media.record(tmp_path / "cut.mp4", frames, media.speech(4, 3.0))), LOOK)
  assert row["fault"] == "mid_group" and "its first 12 pictures are grey" in row["reason"]


def test_the_damaged_recordings_of_grid_are_found():
  root = os.environ.get("NWT_DATA")
  if not root:
    pytest.skip("set NWT_DATA to a folder that holds grid_raw/ to examine damaged recordings")
  for name, fault in (("bbizzn", "mid_group"), ("brwa4p", "mid_group"), ("bbaf2n", ""), ("swwv8p", "")):
    assert examine(f"{root}/grid_raw/{name}.mpg", LOOK)["fault"] == fault


def test_fault_31_sound_that_is_missing_short_late_or_silent_is_told(good, tmp_path):
  frames, sound = media.pictures(2, 50), media.speech(2, 2.0)
  fault = lambda path: examine(str(path), LOOK)["fault"]
  assert fault(media.record(tmp_path / "mute.mp4", frames, None)) == "no_sound"
  assert fault(media.record(tmp_path / "blind.m4a", None, sound, encode=["-c:a", "aac"])) == "no_picture"
  for name, seconds in (("shorter", 2.0 - 1 / 25), ("longer", 2.0 + 1 / 25)):
    path = media.record(tmp_path / f"{name}.mp4", frames, media.speech(2, seconds))
    assert fault(path) == "" and len(records.FileClip("x", str(path)).read(_picture())[0]) in (59, 60, 61)
  assert fault(media.record(tmp_path / "half.mp4", frames, media.speech(2, 1.0))) == "out_of_sync"
  late = media.remux(
    good, tmp_path / "late.mp4", "-itsoffset", "1", "-i", good, "-map", "0:v", "-map", "1:a", "-c", "copy"
  )
  assert fault(late) == "out_of_sync"
  flags = lambda sound, name: examine(str(media.record(tmp_path / name, frames, sound)), LOOK)["flags"]
  assert flags(np.zeros(48_000), "silent.mp4") == ["silent"]
  assert flags(np.clip(40 * sound, -1, 1), "clipped.mp4") == ["clipped"]
  swapped = ["-filter:a", "pan=stereo|c0=c0|c1=-1*c0", "-c:v", "copy"]
  row = examine(str(media.remux(good, tmp_path / "swapped.mp4", *swapped)), LOOK)
  assert (row["fault"], row["flags"]) == ("", ["cancelled"])  # not silent: it is heard by one channel
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
    row = examine(str(media.record(tmp_path / f"{flag}.mp4", frames, sound)), LOOK)
    assert row["fault"] == "" and flag in row["flags"] and len(set(row["flags"]) - {"cut", "frozen", "black"}) == 0
  assert "frozen" not in examine(str(tmp_path / "cut.mp4"), LOOK)["flags"]


def _picture(height=64, width=64, **options):
  return records.Picture(height, width, 30, "png", **options)


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
  assert examine(str(path), LOOK)["fault"] == ""
  frames, sound, _ = records.FileClip("x", str(path)).read(_picture())
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
    frames, sound, _ = records.FileClip("x", str(piece.path)).read(_picture())
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
    row = examine(str(path), LOOK)
    assert row["fault"] == "", (name, row["reason"])
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
  assert examine(str(turned), LOOK)["fault"] == ""


@pytest.mark.slow
def test_fault_34_bombs_are_refused_at_once(tmp_path):
  sound = ["-f", "lavfi", "-i", "anullsrc=r=8000:d=1", "-c:a", "flac"]
  make = lambda name, source, *codec: media.ffmpeg_to(tmp_path / name, "-f", "lavfi", "-i", source, *sound, *codec)
  huge = make("huge.mkv", "color=c=black:s=16000x12000:r=1:d=1", "-c:v", "mjpeg", "-q:v", "31")
  hours = make("hours.mkv", "color=c=black:s=16x16:r=1:d=36000", "-c:v", "ffv1")
  for path, faults in ((huge, ("damaged", "unreadable", "no_picture")), (hours, ("too_large",))):
    start = time.monotonic()
    row = examine(str(path), LOOK)
    assert row["fault"] in faults and time.monotonic() - start < 2, row["reason"]


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
      row = examine(str(tmp_path / f"{name}.mp4"), LOOK)
      assert row["fault"] == "unreadable", name
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
    assert examine(str(path), LOOK)["fault"] == "", name
    assert len(segments.split(path, tmp_path / "cut %d" / str(abs(hash(name))), 1.0)) == 2
  for bad in ("pipe:0", "concat:a|b", "http://127.0.0.1:9/x.mp4", "-", "%d.mp4"):
    with pytest.raises(InputError):
      recordings.find(bad)
  with pytest.raises(InputError, match="NUL"):
    recordings.find("a\0b")


@pytest.mark.parametrize(
  "line, message",
  [
    ("../x.mp4", "lies outside"),
    ("/etc/passwd", "lies outside"),
    ("link.mp4", "lies outside"),
    ("ftp://example.org/x.mp4", "start with http"),
    ("file:///etc/passwd", "start with http"),
    ("a\tb.mp4", "control character"),
    ("{", "no JSON object"),
    ("[1]", "wanted an object"),
    ('{"name": "x"}', "`path` or `url`"),
    ('{"path": "a.mp4", "start": 3, "end": 2}', "before its start"),
    ('{"path": "a.mp4", "start": -1}', "wanted seconds"),
    ('{"path": "a.mp4", "end": "soon"}', "wanted seconds"),
    ('{"path": "a.mp4", "name": "../b"}', "cannot name"),
    ('{"path": "a\\u0000b.mp4"}', "control character"),
  ],
)
def test_fault_37_bad_lines_are_named(tmp_path, line, message):
  root = tmp_path / "root"
  root.mkdir()
  (tmp_path / "elsewhere.mp4").write_text("x")
  os.symlink(tmp_path / "elsewhere.mp4", root / "link.mp4")
  path = root / ("list.jsonl" if line[0] in "{[" else "list.txt")
  path.write_text(('{"path": "good.mp4"}\n' if line[0] in "{[" else "good.mp4\n") + line + "\n")
  with pytest.raises(InputError, match=f"line 2: .*{message}"):
    recordings.read_list(path)


def test_fault_37_lists_are_read(tmp_path):
  (tmp_path / "l.txt").write_bytes(b"# all of them\r\na.mp4\r\nsub/b.mp4\r\n\r\nhttps://example.org/watch?v=abc\r\n")
  found = recordings.read_list(tmp_path / "l.txt")
  assert [r.name for r in found[:2]] == ["a", "sub/b"] and found[2].remote and found[2].name.startswith("abc-")
  assert found[1].where == str(tmp_path / "sub" / "b.mp4")
  (tmp_path / "l.jsonl").write_text(
    '{"path": "a.mp4", "name": "x", "start": 1, "end": 2.5, "episode": "e", "source": "s"}\n'
  )
  assert recordings.find(str(tmp_path / "l.jsonl")) == [
    recordings.Recording("x", str(tmp_path / "a.mp4"), 1.0, 1.5, "e", "s")
  ]
  (tmp_path / "l.txt").write_text("a.mp4\na.mp4\n")
  with pytest.raises(InputError, match="line 2: the name 'a' stands in line 1"):
    recordings.read_list(tmp_path / "l.txt")
  (tmp_path / "l.txt").write_text(f"{tmp_path.name}/a.mp4\n{tmp_path}/b.mp4\n")
  assert [r.name for r in recordings.read_list(tmp_path / "l.txt", tmp_path.parent)] == [
    f"{tmp_path.name}/a", f"{tmp_path.name}/b",
  ]  # fmt: skip
  (tmp_path / "l.txt").write_text("# nothing\n")
  with pytest.raises(InputError, match="lists no recordings"):
    recordings.read_list(tmp_path / "l.txt")


def test_addresses_need_the_downloader(tmp_path, monkeypatch):
  (tmp_path / "l.txt").write_text("https://example.org/a.mp4\n")
  found = recordings.read_list(tmp_path / "l.txt")
  monkeypatch.setattr(recordings.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(InputError, match="pip install yt-dlp"):
    recordings.acquire(found, tmp_path / "d")


def test_a_dead_address_is_an_outcome(good, tmp_path, monkeypatch):
  (tmp_path / "l.txt").write_text("https://example.org/dead.mp4\nhttps://example.org/alive.mp4\n")
  fake = tmp_path / "yt_dlp.py"  # in the downloader's place: fails for one address, brings a file for the other
  fake.write_text(
    "import shutil, sys\n"
    "assert sys.argv[-2] == '--'\n"
    "sys.exit('ERROR: HTTP Error 404') if 'dead' in sys.argv[-1] else None\n"
    f"shutil.copy({str(good)!r}, 'video.mp4')\n"
  )
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setenv("PYTHONPATH", str(tmp_path))
  found = recordings.read_list(tmp_path / "l.txt")
  paths, failed = recordings.acquire(found, tmp_path / "d", lambda text: None)
  dead, alive = (r.name for r in found)
  assert list(failed) == [dead] and "404" in failed[dead] and list(paths) == [alive]
  works = fake.read_text()
  fake.write_text("raise SystemExit('not a second time')")
  assert recordings.acquire(found[1:], tmp_path / "d", lambda text: None)[0] == paths
  fake.write_text(works)
  made = prepare.prepare(tmp_path / "out", pattern=str(tmp_path / "l.txt"), height=16, width=16)
  rows = {row["name"]: row for row in map(json.loads, (tmp_path / "out" / "manifest.jsonl").read_text().splitlines())}
  assert (
    not rows[dead]["kept"]
    and rows[dead]["url"].endswith("dead.mp4")
    and "could not be downloaded" in rows[dead]["reason"]
  )
  assert rows[alive]["kept"] and made["splits"]["train"] == 1
  assert os.listdir(tmp_path / "out.work") == ["downloads"]


def test_fault_38_a_hanging_decoder_is_ended_with_its_children(good, tmp_path, monkeypatch):
  fake = tmp_path / "ffmpeg"
  hang = f"sleep 600 & echo $! > {tmp_path}/child; wait"  # at this file alone: else it is the machine's fault
  fake.write_text(f'#!/bin/sh\ncase "$*" in *good.mp4*) {hang};; esac\nexec {ffmpeg.executable()} "$@"\n')
  fake.chmod(0o755)
  monkeypatch.setattr(ffmpeg, "executable", lambda: str(fake))
  monkeypatch.setattr(probe, "SECONDS", 3)
  start = time.monotonic()
  row = examine(str(good), LOOK)
  assert row["fault"] == "unreadable" and "not done with it after 3 s" in row["reason"]
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
    prepare.prepare(tmp_path / "out", pattern=str(tmp_path / "in"), height=16, width=16)
  assert not (tmp_path / "out").exists()
  made = prepare.prepare(tmp_path / "out", pattern=str(tmp_path / "in"), height=16, width=16, max_bad_fraction=0.8)
  assert len(made["skipped"]) == 4


def test_fault_43_too_little_data_is_said(good, tmp_path):
  from nwt_jax.data.batches import video_batches

  (tmp_path / "in").mkdir()
  (tmp_path / "in" / "good.mp4").write_bytes(good.read_bytes())
  prepare.prepare(tmp_path / "out", pattern=str(tmp_path / "in"), height=16, width=16)
  with pytest.raises(InputError, match="wanted windows of 99"):
    video_batches(tmp_path / "out", "train", 1, 99, 0)
  with pytest.raises(InputError, match="no clips for test|test"):
    video_batches(tmp_path / "out", "test", 1, 8, 0)


def test_fault_44_an_unknown_episode_lists_the_choices(folder, tmp_path):
  with pytest.raises(InputError, match="'purple'; the episodes are blue, green, red"):
    prepare.prepare(
      tmp_path / "o", pattern=str(folder), episodes=folder / "clips.csv", height=16, width=16, holdout=["purple"]
    )


def test_fault_45_one_recording_under_two_names_stays_together(tmp_path):
  for seed in range(8):
    media.clip(tmp_path / "in" / f"c{seed}.mp4", seed)
  louder = ["-c:v", "mpeg2video", "-q:v", "6", "-c:a", "mp2", "-af", "volume=0.6", "-ss", "0.3"]
  for seed in (2, 5):  # another codec, another loudness, and less of it
    media.remux(tmp_path / "in" / f"c{seed}.mp4", tmp_path / "in" / f"again{seed}.mpg", *louder)
  made = prepare.prepare(tmp_path / "out", pattern=str(tmp_path / "in"), height=16, width=16)
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
