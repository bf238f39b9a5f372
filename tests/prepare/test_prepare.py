"""Preparation: a folder of videos becomes a data set, the same for any number of workers, or nothing at all."""

import csv
import itertools
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from nwt_jax.data import dataset as builder
from nwt_jax.data.clips import Clips
from nwt_jax.errors import InputError
from nwt_jax.io import audio, video
from nwt_jax.prepare import __main__ as prepare
from nwt_jax.prepare.acquire import recordings, segments
from nwt_jax.prepare.write import records as sources
from nwt_jax.prepare.write.splits import SPLITS


def all_clips(path):
  """{name: (split, clip)} of a data set."""
  counts = builder.read_metadata(path, "clips", "")["splits"]
  found = {}
  for split in SPLITS:
    clips = Clips(path, split)
    assert len(clips) == counts[split]
    found |= {clips.index[i]["name"]: (split, clips[i]) for i in range(len(clips))}
  return found


def test_a_record_holds_what_the_file_shows_and_says(folder, dataset):
  found = all_clips(dataset)
  assert sorted(found) == [f"m{i}" for i in range(6)]
  metadata = Clips(dataset, "train").metadata
  assert metadata["splits"] == {"train": 4, "validation": 1, "test": 1}
  for name, (_, clip) in found.items():
    frames = video.read_video(folder / f"{name}.mp4", 30, 32, 24)
    np.testing.assert_array_equal(clip["video"], frames)  # PNG, and RGB
    assert len(clip["mel"]) == 4 * len(frames) and len(clip["audio"]) == 800 * len(frames)
    np.testing.assert_array_equal(clip["mel"], audio.log_mel(clip["audio"], len(frames)))
    heard = audio.read_audio(folder / f"{name}.mp4")[: len(clip["audio"])]
    np.testing.assert_allclose(clip["audio"][: len(heard)], heard, atol=2e-5)
    assert clip["truth"] is None
    wanted = ("red", "green", "blue")[int(name[1]) % 3]
    assert clip["episode"] < 0 or metadata["episodes"][clip["episode"]] == wanted
    loudest = clip["video"].reshape(-1, 3).mean(0).argmax()
    assert ("red", "green", "blue")[loudest] == wanted


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_who_may_read_what_preparation_leaves_is_for_the_umask_to_say(request, folder, tmp_path, mask):
  before = os.umask(mask)
  request.addfinalizer(lambda: os.umask(before))
  size = {"height": 32, "width": 24, "image_format": "png", "workers": 1}
  prepare.prepare(tmp_path / "out", pattern=str(folder), split_seconds=0.3, **size)
  segments.split(folder / "m5.mp4", tmp_path / "pieces", 0.4)  # of which preparation leaves those of one step
  left = [*(tmp_path / "out").rglob("*"), tmp_path / "out", *(tmp_path / "pieces").rglob("*"), tmp_path / "pieces"]
  assert len(left) > 12
  for path in left:
    assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~mask, path


def test_the_description_tells_all(dataset):
  metadata = json.loads((dataset / "metadata.json").read_text())
  assert (metadata["height"], metadata["width"], metadata["fps"]) == (32, 24, 30)
  assert metadata["image_format"] == "png" and metadata["sample_rate"] == 24_000
  assert metadata["mel"]["n_mels"] == 80 and metadata["mel"]["hop_length"] == 200
  assert sum(metadata["splits"].values()) == 6
  index = json.loads((dataset / "index.json").read_text())
  assert metadata["frames"] == {split: sum(row["frames"] for row in index[split]) for split in SPLITS}
  assert len(metadata["fingerprint"]) == 64 and not metadata["skipped"]


def test_any_number_of_workers_in_any_process_gives_the_same_bytes(folder, dataset, tmp_path, start):
  table, output = folder / "clips.csv", tmp_path / "two"
  size = ["--height=32", "--width=24", "--image_format=png", "--workers=2"]
  done = start("prepare", f"--input={folder}/*.mp4", f"--episodes={table}", f"--output={output}", *size)
  assert done.returncode == 0, done.stderr
  assert f"--config.data.path={output}" in done.stdout
  for name in ("index.json", "metadata.json"):
    assert (tmp_path / "two" / name).read_text() == (dataset / name).read_text()
  shards = sorted(path.name for path in (dataset / "clips" / "1.0.0").iterdir() if "array_record" in path.name)
  for shard in shards:
    one, two = (root / "clips" / "1.0.0" / shard for root in (dataset, tmp_path / "two"))
    assert one.read_bytes() == two.read_bytes()
  assert len(shards) == 3 and os.listdir(tmp_path) == ["two"]


def test_more_records_than_a_shard_holds_keep_their_order(tmp_path, dataset):
  clip = dict(Clips(dataset, "train").record(0))
  records = [clip | {"name": f"n{i}"} for i in range(7)]
  kind = builder.clip_features()
  builder.write_dataset(tmp_path / "d", "clips", kind, {"train": (9, records)}, {"height": 32, "width": 24}, 2)
  clips = Clips(tmp_path / "d", "train")
  assert [clips[i]["name"] for i in range(7)] == [f"n{i}" for i in range(7)]
  assert len([p for p in (tmp_path / "d" / "clips" / "1.0.0").iterdir() if "array_record" in p.name]) == 5


def test_jpeg_is_close_and_a_window_is_a_part(folder, dataset, tmp_path):
  prepare.prepare(tmp_path / "j", pattern=str(folder / "m3.mp4"), height=32, width=24)
  clips = Clips(tmp_path / "j", "train")
  whole = clips[0]
  assert clips.metadata["episodes"] == ["default"] and len(clips) == 1
  exact = all_clips(dataset)["m3"][1]["video"]
  assert 0 < np.abs(whole["video"].astype(int) - exact).mean() < 3
  part = clips.window(0, 5, 8)
  np.testing.assert_array_equal(part["video"], whole["video"][5:13])
  np.testing.assert_array_equal(part["mel"], whole["mel"][20:52])
  with pytest.raises(ValueError, match="which has"):
    clips.window(0, len(whole["video"]) - 7, 8)
  with pytest.raises(IndexError):
    clips[1]
  assert len(Clips(tmp_path / "j", "test")) == 0


def test_pictures_are_cropped(folder, tmp_path):
  prepare.prepare(tmp_path / "cut", str(folder), height=16, width=16, image_format="png", crop="20x24+8+4")
  (name, (_, clip)), *_ = all_clips(tmp_path / "cut").items()
  path = {found.name: found.where for found in recordings.find(str(folder))}[name]
  wanted = video.read_video(path, height=16, width=16, crop=video.Box.parse("20x24+8+4"))
  np.testing.assert_array_equal(clip["video"], wanted)
  assert (wanted != video.read_video(path, height=16, width=16)).any()
  assert builder.read_metadata(tmp_path / "cut", "clips", "")["crop"] == "20x24+8+4"


def test_a_held_out_episode_has_no_number(folder, tmp_path):
  made = prepare.prepare(
    tmp_path / "h", pattern=str(folder), episodes=folder / "clips.csv", height=16, width=16, holdout=["green"]
  )
  assert made["episodes"] == ["blue", "red"] and made["holdout_episodes"] == ["green"]
  found = all_clips(tmp_path / "h")
  assert all(found[name][0] == "test" and found[name][1]["episode"] == -1 for name in ("m1", "m4"))
  assert all(clip["episode"] >= 0 for name, (_, clip) in found.items() if name not in ("m1", "m4"))


def test_clips_of_one_recording_stay_together(folder, tmp_path):
  rows = [["clip", "session", "source"]] + [[f"m{i}.mp4", "one", f"tape{i // 2}"] for i in range(6)]
  with open(tmp_path / "s.csv", "w", newline="") as file:
    csv.writer(file).writerows(rows)
  prepare.prepare(tmp_path / "d", pattern=str(folder), episodes=tmp_path / "s.csv", height=16, width=16)
  place = {name: split for name, (split, _) in all_clips(tmp_path / "d").items()}
  assert all(place[f"m{2 * i}"] == place[f"m{2 * i + 1}"] for i in range(3)) and len(set(place.values())) == 3


def test_bad_files_are_left_out_and_named(folder, tmp_path, capsys):
  shutil.copytree(folder, tmp_path / "in")
  (tmp_path / "in" / "m0.mp4").write_text("no video")
  (tmp_path / "in" / "m1.mp4").write_bytes(b"")
  made = prepare.prepare(tmp_path / "out", pattern=str(tmp_path / "in"), height=16, width=16)
  assert sorted(made["skipped"]) == ["m0", "m1"] and sum(made["splits"].values()) == 4
  assert "left out" in capsys.readouterr().err
  (tmp_path / "bad").mkdir()
  shutil.copy(tmp_path / "in" / "m0.mp4", tmp_path / "bad")
  with pytest.raises(InputError, match="none of the 1 clips"):
    prepare.prepare(tmp_path / "none", pattern=str(tmp_path / "bad"), height=16, width=16)
  assert not (tmp_path / "none").exists()


def test_a_failure_leaves_no_folder(folder, tmp_path, monkeypatch):
  monkeypatch.setattr(sources, "encode_image", lambda *_: (_ for _ in ()).throw(RuntimeError("ours")))
  with pytest.raises(RuntimeError, match="ours"):
    prepare.prepare(tmp_path / "out", pattern=str(folder), height=16, width=16)
  assert os.listdir(tmp_path) == ["out.work"]


def test_an_output_in_use_is_not_touched(folder, tmp_path, capsys):
  source = str(folder / "m[01].mp4")
  first = prepare.prepare(tmp_path / "d", pattern=source, height=16, width=16)
  stamp = os.stat(tmp_path / "d" / "metadata.json").st_mtime_ns
  assert prepare.prepare(tmp_path / "d", pattern=source, height=16, width=16) == first
  assert "nothing to do" in capsys.readouterr().err
  with pytest.raises(InputError, match="--overwrite"):
    prepare.prepare(tmp_path / "d", pattern=source, height=16, width=32)
  assert os.stat(tmp_path / "d" / "metadata.json").st_mtime_ns == stamp
  second = prepare.prepare(tmp_path / "d", pattern=source, height=16, width=32, overwrite=True)
  assert Clips(tmp_path / "d", "train")[0]["video"].shape[1:] == (16, 32, 3)
  assert second["fingerprint"] != first["fingerprint"] and os.listdir(tmp_path) == ["d"]
  (tmp_path / "photos").mkdir()
  (tmp_path / "photos" / "dear.jpg").touch()
  with pytest.raises(InputError, match="not a data set"):
    prepare.prepare(tmp_path / "photos", pattern=source, height=16, width=16, overwrite=True)


def test_without_speech_the_talker_stops_at_once(tmp_path, monkeypatch):
  talker = pytest.importorskip("nwt_jax.talker.clip")

  def mute(*_, **__):
    raise InputError("no espeak-ng; pip install nwt_jax[talker]")

  monkeypatch.setattr(talker, "make_clip", mute)
  with pytest.raises(InputError, match="talker"):
    prepare.prepare(tmp_path / "t", talker=3, height=32, width=28)
  assert os.listdir(tmp_path) == []


def test_the_talker_performs_with_truth(tmp_path, start):
  pytest.importorskip("espeakng_loader", reason="the talker needs pip install nwt_jax[talker]")
  done = start("prepare", "--talker=3", "--height=32", "--width=28", "--seed=5", f"--output={tmp_path / 't'}")
  assert done.returncode == 0, done.stderr
  made = Clips(tmp_path / "t", "train").metadata
  assert made["splits"] == {"train": 3, "validation": 0, "test": 0}  # three people, a clip of each
  clips = Clips(tmp_path / "t", "train")
  for number, clip in enumerate(clips[i] for i in range(3)):
    assert clip["name"] == f"talker_5_{number:05d}" and len(clip["truth"]["opening"]) == len(clip["video"])
  assert sorted(clips[i]["episode"] for i in range(3)) == [0, 1, 2] and len(made["episodes"]) == 3


def test_files_get_names(tmp_path):
  for path in ("a/1.mp4", "b/1.mp4", "b/2.MOV", "b/notes.txt"):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("x")
  assert sorted(found.name for found in recordings.find(str(tmp_path))) == ["a/1", "b/1", "b/2"]
  assert sorted(found.name for found in recordings.find(str(tmp_path / "b"))) == ["1", "2"]
  assert sorted(found.name for found in recordings.find(str(tmp_path / "*" / "1.mp4"))) == ["a/1", "b/1"]
  with pytest.raises(InputError, match="no video file matches"):
    recordings.find(str(tmp_path / "*.mkv"))


@pytest.mark.parametrize(
  "table, message",
  [
    ("name,episode\nm0,a\n", "wanted `clip`"),
    ("clip,episode\nm0,a\n", "5 of 6 clips"),
    ("clip,episode\nm0,a\nm0,b\n", "a second time"),
    ("clip,episode\nm0,\n", "line 2 lacks"),
    ('clip,episode\nm0,"Smith, John"\n', "cannot name an episode"),
    ("clip,episode\nm0,a@home\n", "cannot name an episode"),
    ("clip,episode\nm0,mean\n", "cannot name an episode"),
    ("", "empty"),
  ],
)
def test_a_bad_table_is_refused(folder, tmp_path, table, message):
  (tmp_path / "t.csv").write_text(table)
  with pytest.raises(InputError, match=message):
    prepare.prepare(tmp_path / "out", pattern=str(folder), episodes=tmp_path / "t.csv", height=16, width=16)


def test_missing_data_names_the_command(tmp_path, token_set):
  for path in (None, "", tmp_path / "nowhere", tmp_path):
    with pytest.raises(InputError, match="nwt_jax.prepare"):
      Clips(path, "train")
  with pytest.raises(InputError, match="holds tokens, wanted clips"):
    Clips(token_set, "train")
  with pytest.raises(InputError, match="no split"):
    Clips(token_set, "training")
  (tmp_path / "metadata.json").write_text("{")
  with pytest.raises(InputError, match="damaged"):
    Clips(tmp_path, "train")


def test_the_program_refuses_in_a_line(refused, tmp_path):
  assert "--talker" in refused("prepare", f"--output={tmp_path / 'o'}")
  assert "--output" in refused("prepare", f"--input={tmp_path}")
  assert "no video file" in refused("prepare", f"--input={tmp_path}/*.mp4", f"--output={tmp_path / 'o'}")
  assert "four mel rows" in refused("prepare", f"--input={tmp_path}", "--fps=25", f"--output={tmp_path / 'o'}")
  assert "write WIDTHxHEIGHT" in refused("prepare", f"--input={tmp_path}", "--crop=1:2", f"--output={tmp_path / 'o'}")
  assert os.listdir(tmp_path) == []


def test_preparing_and_reading_need_neither_tensorflow_nor_jax(folder, tmp_path):
  code = f"""
import sys
from nwt_jax.prepare import prepare
from nwt_jax.data.clips import Clips
from nwt_jax.data import tokens
prepare({str(tmp_path / "d")!r}, pattern={str(folder / "m0.mp4")!r}, height=16, width=16)
assert len(Clips({str(tmp_path / "d")!r}, "train")[0]["video"]) == 24
sys.exit(", ".join(name for name in ("tensorflow", "jax") if name in sys.modules) or 0)
"""
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr


def test_real_clips(tmp_path):
  root = os.environ.get("NWT_DATA")
  if not root:
    pytest.skip("set NWT_DATA to a folder that holds grid_s1/ to prepare real clips")
  table = os.path.join(root, "grid_s1", "clips.csv")
  with open(table) as file:
    names = [row["clip"] for row in itertools.islice(csv.DictReader(file), 3)]
  (tmp_path / "in").mkdir()
  for name in names:
    os.symlink(os.path.join(root, "grid_s1", "clips", f"{name}.mp4"), tmp_path / "in" / f"{name}.mp4")
  made = prepare.prepare(tmp_path / "d", pattern=str(tmp_path / "in"), episodes=table, height=128, width=112)
  assert made["splits"] == {"train": 1, "validation": 1, "test": 1}
  clip = Clips(tmp_path / "d", "train")[0]
  assert clip["video"].shape == (90, 128, 112, 3) and clip["mel"].shape == (360, 80)
  middle = clip["video"][:, 20:100, 30:80].reshape(-1, 3).mean(0)
  assert middle[0] > middle[1] > middle[2]  # a face is redder than it is blue
