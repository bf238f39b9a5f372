"""Preparation step by step: cut, examined, reviewed, masked, and the same after a kill."""

import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from nwt_jax.data.clips import Clips
from nwt_jax.errors import InputError
from nwt_jax.io import video
from nwt_jax.metrics import face
from nwt_jax.prepare import __main__ as prepare
from nwt_jax.prepare import cache, pipeline
from nwt_jax.prepare.examine import crops
from nwt_jax.prepare.examine.clip import FLAGS, Look, examine
from nwt_jax.prepare.review import manifest, pages
from nwt_jax.prepare.write import overlay, records, shards
from nwt_jax.prepare.write.splits import SPLITS
from tests import media
from tests.conftest import ROOT

TINY = {"height": 16, "width": 16, "faces": False}


def rows_of(path):
  return {row["name"]: row for row in manifest.read(Path(path) / manifest.NAME)}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
  """Six good clips, one with a cut, one without sound."""
  root = tmp_path_factory.mktemp("mixed")
  for seed in range(6):
    media.clip(root / f"c{seed}.mp4", seed, 1.2)
  jump = np.concatenate([media.pictures(8, 20), 255 - media.pictures(77, 20)])
  media.record(root / "jump.mp4", jump, media.speech(8, 1.6))
  media.record(root / "mute.mp4", media.pictures(9, 30), None)
  return root


def test_the_manifest_tells_of_every_clip(mixed, tmp_path):
  made = prepare.prepare(tmp_path / "out", pattern=str(mixed), **TINY)
  rows = rows_of(tmp_path / "out")
  assert len(rows) == 8 and sum(made["splits"].values()) == 7 and list(made["skipped"]) == ["mute"]
  assert rows["mute"]["fault"] == "no_sound" and not rows["mute"]["kept"] and rows["mute"]["split"] is None
  assert rows["jump"]["kept"] and rows["jump"]["flags"] == ["cut"] and rows["jump"]["decided_by"] == "default"
  assert all(len(row["sha256"]) == 64 and row["end"] > row["start"] for row in rows.values() if row["kept"])
  report = (tmp_path / "out" / pages.REPORT).read_text()
  assert (
    FLAGS["cut"] in report
    and "no_sound" in report
    and "c0" in report
    and "http" not in report.replace("http-equiv", "")
  )
  assert os.listdir(tmp_path) == ["out"]  # nothing is left to do, nothing is left behind


def test_review_decides_before_auto(mixed, tmp_path, capsys):
  assert prepare.prepare(tmp_path / "out", pattern=str(mixed), stop_after="examine", **TINY) is None
  said = capsys.readouterr().out
  assert "7 clips to review, 1 rejected" in said and str(tmp_path / "out.work" / "review.html") in said
  assert not (tmp_path / "out").exists()
  page = (tmp_path / "out.work" / pages.REVIEW).read_text()
  assert "mute" not in page and '"jump"' in page and page.count(".jpg") == 7
  decisions = {"c1": {"keep": False, "reason": "subject is holding objects"}, "jump": {"keep": True, "reason": ""}}
  decisions["mute"] = {"keep": True, "reason": ""}  # nobody can keep what cannot be trusted
  (tmp_path / "d.json").write_text(json.dumps(decisions))
  prepare.prepare(tmp_path / "out", pattern=str(mixed), decisions=tmp_path / "d.json", auto=["all"], **TINY)
  rows = rows_of(tmp_path / "out")
  assert (rows["c1"]["kept"], rows["c1"]["reason"]) == (False, "subject is holding objects")
  assert rows["jump"]["kept"] and rows["jump"]["decided_by"] == "review" and not rows["mute"]["kept"]
  prepare.prepare(tmp_path / "auto", pattern=str(mixed), auto=["cut"], **TINY)
  dropped = rows_of(tmp_path / "auto")["jump"]
  assert (dropped["kept"], dropped["decided_by"], dropped["reason"]) == (False, "--auto", FLAGS["cut"])
  with pytest.raises(InputError, match="--auto=cats: choose from all, no_face"):
    prepare.prepare(tmp_path / "no", pattern=str(mixed), auto=["cats"], **TINY)
  (tmp_path / "d.json").write_text('{"c1": "no"}')
  with pytest.raises(InputError, match="holds no decisions"):
    prepare.prepare(tmp_path / "no", pattern=str(mixed), decisions=tmp_path / "d.json", **TINY)


def test_names_from_outside_stay_text(tmp_path):
  name = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
  row = {"name": name, "path": name, "episode": name, "source": name, "fault": "", "reason": name, "flags": ["cut"]}
  row |= {"start": 0.0, "length": 1.0, "kept": False, "decided_by": "review"}
  pages.write_review(tmp_path / "r.html", [row], {}, name)
  metadata = {"splits": {"train": 1}, "frames": {"train": 30}}
  pages.write_report(tmp_path / "p.html", [row, row | {"kept": True}], {}, metadata, {name: name})
  for page in ("r.html", "p.html"):
    text = (tmp_path / page).read_text()
    assert "<script>alert" not in text and "<img src=x" not in text and "alert(1)" in text


@pytest.mark.slow
def test_the_papers_preset(tmp_path, start):
  """Splits at key frames, crops from the bottom left, trims, masks; each recording is an episode."""
  for seed, name in enumerate(("first", "second")):
    frames = media.pictures(seed, 250, 180, 320)
    media.record(tmp_path / "in" / f"{name}.mp4", frames, media.speech(seed, 10.0))
  size = ["--height=32", "--width=28", "--image_format=png", "--crop=156x178+127+2", "--workers=1", "--faces=False"]
  done = start("prepare", f"--input={tmp_path / 'in'}", "--preset=lwt", f"--output={tmp_path / 'out'}", *size)
  assert done.returncode == 0, done.stderr
  rows = rows_of(tmp_path / "out")
  metadata = Clips(tmp_path / "out", "train").metadata
  assert metadata["episodes"] == ["first", "second"] and metadata["overlay_mask"] is True
  assert sorted(rows) == [f"{name}_{n:05d}" for name in ("first", "second") for n in range(3)]
  for name in ("first", "second"):
    parts = [rows[f"{name}_{n:05d}"] for n in range(3)]
    # Key frames stand every 0.48 s: cuts at 4.32 and 8.16 s; 0.25 s go at both ends where two seconds are left.
    assert [part["start"] for part in parts] == pytest.approx([0.25, 4.57, 8.16], abs=0.01)
    assert [part["end"] for part in parts] == pytest.approx([4.07, 7.91, 10.0], abs=0.06)
    assert all(part["crop"] == "156x178+127+2" and part["episode"] == name for part in parts)
  # The manifest is a list: the same clips again, from the whole recordings.
  again = ["--crop=156x178+127+2", "--overlay_mask", *size[:3]]
  done = start(
    "prepare", f"--input={tmp_path / 'out' / manifest.NAME}", f"--root={tmp_path}", f"--output={tmp_path / 'b'}", *again
  )
  assert done.returncode == 0, done.stderr
  clips = {clip["name"]: clip for path in ("out", "b") for split in SPLITS for clip in _all(tmp_path / path, split)}
  first = {clip["name"]: clip for split in SPLITS for clip in _all(tmp_path / "out", split)}
  for name, clip in clips.items():
    n = min(len(clip["video"]), len(first[name]["video"]))
    assert abs(len(clip["video"]) - len(first[name]["video"])) <= 1
    error = np.abs(clip["video"][:n].astype(float) - first[name]["video"][:n]).mean()
    assert error < 4, (name, error)


def _all(path, split):
  clips = Clips(path, split)
  return [clips[i] for i in range(len(clips))]


def test_the_overlay_mask_is_the_papers():
  frames = np.full((3, 712, 623, 3), 60, np.uint8)
  boxes = {  # top, left, height, width; whether the paper's rules cover it
    (100, 10, 120, 100): True,  # at the left edge
    (600, 300, 90, 200): True,  # low
    (100, 300, 120, 100): False,  # in the middle
    (300, 0, 70, 100): False,  # less than 80 high
    (400, 5, 90, 40): False,  # 3,600 pixels
  }
  for top, left, height, width in boxes:
    frames[1, top : top + height, left : left + width] = 200
  masked = overlay.mask(frames)
  for (top, left, height, width), covered in boxes.items():
    assert (masked[1, top : top + height, left : left + width] == (255 if covered else 200)).all()
  np.testing.assert_array_equal(masked[[0, 2]], frames[[0, 2]])
  assert frames.max() == 200  # a copy
  # The paper's calls, literally, on a natural picture.
  noise = np.random.default_rng(0).normal(size=(712, 623)).astype(np.float32)
  noise = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 25), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
  noise = np.stack([noise, noise, noise // 2 + 127], axis=-1)
  color_image = cv2.cvtColor(noise, cv2.COLOR_RGB2BGR)
  binarized_image = cv2.threshold(cv2.cvtColor(color_image, cv2.COLOR_BGR2GRAY), 185, 255, 0)[1]
  for contour in cv2.findContours(binarized_image, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
    x, y, w, h = cv2.boundingRect(contour)
    if 4000 < w * h < 100000 and h > 80 and (x <= 20 or y > 550):
      cv2.rectangle(color_image, (x, y), (x + w - 1, y + h - 1), (255, 255, 255), -1)
  result = overlay.mask(noise[None])[0]
  np.testing.assert_array_equal(result, cv2.cvtColor(color_image, cv2.COLOR_BGR2RGB))
  assert (result != noise).any()


def test_the_mask_comes_before_scaling(tmp_path):
  frames = media.pictures(3, 25, 400, 400) // 2
  frames[:, 100:300, :100] = 240
  path = media.record(tmp_path / "c.mp4", frames, media.speech(3, 1.0))
  read = records.FileClip("c", str(path)).read(records.Picture(40, 40, 30, "png", overlay_mask=True))[0]
  plain = records.FileClip("c", str(path)).read(records.Picture(40, 40, 30, "png"))[0]
  assert read[:, 12:28, 1:8].min() == 255 and plain[:, 12:28, 1:8].max() < 250
  assert np.abs(read[:, :, 15:].astype(float) - plain[:, :, 15:]).mean() < 2


def test_motion_interpolation_keeps_the_duration(tmp_path):
  path = media.clip(tmp_path / "c.mp4", 4, 1.6, rate=15.0)
  repeated, moved = (video.read_video(path, motion=motion) for motion in (False, True))
  assert len(repeated) == 48 and abs(len(moved) - 48) <= 3
  same = lambda frames: sum(np.array_equal(a, b) for a, b in itertools.pairwise(frames))
  assert same(repeated) >= 20 and same(moved) <= 3  # every second frame of the first is the one before


@pytest.mark.slow
def test_fault_40_preparation_killed_and_run_again_writes_the_same_bytes(mixed, tmp_path):
  """kill -9 at several moments; then the same bytes as without, and nothing twice."""
  whole = prepare.prepare(tmp_path / "whole", pattern=str(mixed), **TINY)
  command = [sys.executable, "-m", "nwt_jax.prepare", f"--input={mixed}", f"--output={tmp_path / 'out'}"]
  command += ["--height=16", "--width=16", "--faces=False", "--workers=2"]
  environment = os.environ | {"PYTHONPATH": str(ROOT)}
  killed = 0
  for moment in ("examined.jsonl", "building-*"):
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not any(
      path.is_dir() or path.stat().st_size > 5_000 for path in (tmp_path / "out.work").glob(moment)
    ):
      time.sleep(0.005)
    if process.poll() is None:
      os.killpg(process.pid, signal.SIGKILL)
      killed += 1
    process.wait()
  assert killed and not (tmp_path / "out").exists()
  work = tmp_path / "out.work"
  with open(work / "examined.jsonl", "a") as file:
    file.write('["torn", {"fault')  # what a kill can leave
  done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  made = json.loads((tmp_path / "out" / "metadata.json").read_text())
  assert made["fingerprint"] == whole["fingerprint"] and not work.exists()
  for shard in sorted((tmp_path / "whole" / "clips" / "1.0.0").iterdir()):
    if "array_record" in shard.name:
      assert (tmp_path / "out" / "clips" / "1.0.0" / shard.name).read_bytes() == shard.read_bytes()
  assert rows_of(tmp_path / "out") == rows_of(tmp_path / "whole")


def test_what_was_examined_is_not_examined_again(mixed, tmp_path, monkeypatch):
  """But for what was at fault, which may have been the machine's."""
  prepare.prepare(tmp_path / "out", pattern=str(mixed), stop_after="examine", **TINY)
  again = []
  monkeypatch.setattr(pipeline, "examine", lambda path, *rest: again.append(path) or examine(path, *rest))
  made = prepare.prepare(tmp_path / "out", pattern=str(mixed), **TINY)
  assert sum(made["splits"].values()) == 7 and again == [str(mixed / "mute.mp4")]
  assert len(set(cache.Kept(tmp_path / "none").known)) == 0


@pytest.mark.parametrize("change", ["a clip more", "a file changed"])
def test_stale_shards_are_not_taken_up(mixed, tmp_path, monkeypatch, change):
  """After a call that was cut off when its shards were written, what was prepared of other clips may not be used."""
  (tmp_path / "in").mkdir()
  for seed in range(5):
    (tmp_path / "in" / f"c{seed}.mp4").write_bytes((mixed / f"c{seed}.mp4").read_bytes())
  monkeypatch.setattr(shards.builder, "describe_dataset", lambda *_: (_ for _ in ()).throw(RuntimeError("cut off")))
  with pytest.raises(RuntimeError, match="cut off"):
    prepare.prepare(tmp_path / "out", pattern=str(tmp_path / "in"), episodes="recordings", image_format="png", **TINY)
  monkeypatch.undo()
  # The first by name: every episode's number changes. Another clip, just as long, in place of one.
  target = "b" if change == "a clip more" else "c1"
  (tmp_path / "in" / f"{target}.mp4").write_bytes((mixed / "c5.mp4").read_bytes())
  prepare.prepare(tmp_path / "out", pattern=str(tmp_path / "in"), episodes="recordings", image_format="png", **TINY)
  found = {clip["name"]: clip for split in SPLITS for clip in _all(tmp_path / "out", split)}
  clips = Clips(tmp_path / "out", "train")
  for name, clip in found.items():
    np.testing.assert_array_equal(clip["video"], video.read_video(tmp_path / "in" / f"{name}.mp4", 30, 16, 16))
    assert clips.episode_name(clip["episode"]) in (name, "mean")


def test_what_is_not_ours_stays(mixed, tmp_path):
  prepare.prepare(tmp_path / "out", pattern=str(mixed), stop_after="examine", **TINY)
  saved = tmp_path / "out.work" / "decisions.json"
  saved.write_text('{"c1": {"keep": false}}')
  prepare.prepare(tmp_path / "out", pattern=str(mixed), decisions=saved, **TINY)
  assert os.listdir(tmp_path / "out.work") == ["decisions.json"]
  assert prepare.prepare(tmp_path / "out", pattern=str(mixed), decisions=saved, **TINY)["skipped"].keys() == {
    "c1",
    "mute",
  }


def test_the_output_is_no_input(mixed, tmp_path):
  for name in ("c1.mp4", "c2.mp4"):
    (tmp_path / name).write_bytes((mixed / name).read_bytes())
  for _ in range(2):
    prepare.prepare(tmp_path / "out", pattern=str(tmp_path), split_seconds=0.5, stop_after="split", **TINY)
  made = prepare.prepare(tmp_path / "out", pattern=str(tmp_path), split_seconds=0.5, **TINY)
  assert sum(made["splits"].values()) == len(rows_of(tmp_path / "out")) == 4  # cut at 0.96 s


def test_two_programs_do_not_write_one_data_set(mixed, tmp_path):
  with cache.workplace(tmp_path / "out"), pytest.raises(InputError, match="another program is preparing"):
    prepare.prepare(tmp_path / "out", pattern=str(mixed), **TINY)
  assert prepare.prepare(tmp_path / "out", pattern=str(mixed), **TINY)["skipped"].keys() == {"mute"}


def test_parts_of_one_file_stay_together(mixed, tmp_path):
  lines = [
    {"path": str(mixed / f"c{i}.mp4"), "name": f"c{i}_{n}", "start": 0.4 * n, "end": 0.4 * n + 0.4}
    for i in range(6)
    for n in range(3)
  ]
  (mixed / "parts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  prepare.prepare(tmp_path / "out", pattern=str(mixed / "parts.jsonl"), **TINY)
  rows = rows_of(tmp_path / "out")
  assert len(rows) == 18 and all(len({rows[f"c{i}_{n}"]["split"] for n in range(3)}) == 1 for i in range(6))
  with pytest.raises(InputError, match="part of its file already"):
    prepare.prepare(tmp_path / "no", pattern=str(mixed / "parts.jsonl"), split_seconds=1.0, **TINY)


def test_a_picture_that_starts_late_keeps_its_times(mixed, tmp_path):
  """The clock starts with the sound; the manifest is a list whose times the program takes."""
  late = ["-itsoffset", "0.12", "-i", mixed / "c1.mp4", "-map", "1:v", "-map", "0:a", "-c", "copy"]
  media.remux(mixed / "c1.mp4", tmp_path / "late.mkv", *late)
  first = prepare.prepare(tmp_path / "out", pattern=str(tmp_path / "late.mkv"), **TINY)
  (row,) = rows_of(tmp_path / "out").values()
  assert row["start"] == 0.0 and row["end"] == pytest.approx(1.32, abs=0.03)
  again = prepare.prepare(tmp_path / "b", pattern=str(tmp_path / "out" / manifest.NAME), root="/", **TINY)
  assert again["frames"] == first["frames"]


def test_names_that_cannot_be(mixed, tmp_path):
  (tmp_path / "in").mkdir()
  (tmp_path / "in" / "Hello, world.mp4").write_bytes((mixed / "c1.mp4").read_bytes())
  with pytest.raises(InputError, match="cannot name an episode"):
    prepare.prepare(tmp_path / "out", pattern=str(tmp_path / "in"), episodes="recordings", **TINY)
  os.rename(tmp_path / "in" / "Hello, world.mp4", os.fsencode(tmp_path / "in") + b"/caf\xe9.mp4")
  made = prepare.prepare(tmp_path / "out", pattern=str(tmp_path / "in"), **TINY)
  assert made["splits"]["train"] == 1 and list(rows_of(tmp_path / "out")) == ["caf\ufffd"]
  with pytest.raises(InputError, match="--crop=face looks for faces"):
    prepare.prepare(tmp_path / "no", pattern=str(tmp_path / "in"), crop="face", **TINY)
  (tmp_path / "file").write_text("x")
  with pytest.raises(InputError, match="cannot write"):
    prepare.prepare(tmp_path / "file" / "out", pattern=str(tmp_path / "in"), **TINY)


def test_one_step_alone(mixed, tmp_path, capsys):
  prepare.prepare(tmp_path / "out", pattern=str(mixed), stop_after="split", split_seconds=0.5, **TINY)
  assert "recordings lost" in capsys.readouterr().out
  pieces = list((tmp_path / "out.work" / "segments").rglob("*.mkv"))
  assert len(pieces) > 8 and not (tmp_path / "out").exists()


def test_without_beam_the_extra_is_named(mixed, tmp_path, refused):
  if importlib.util.find_spec("apache_beam") is not None:
    pytest.skip("apache-beam is installed")
  said = refused("prepare", f"--input={mixed}", f"--output={tmp_path / 'o'}", "--engine=beam")
  assert "nwt_jax[beam]" in said


# With real faces.


def _natural(name):
  root = os.environ.get("NWT_DATA")
  if not root or not face.available():
    pytest.skip("set NWT_DATA to a folder that holds natural/, and install the extra `faces`, to look at faces")
  return f"{root}/natural/{name}.mp4"


def test_faces_are_seen_and_framed(tmp_path):
  path = _natural("latentsync_demo1")
  row = examine(path, Look(False, True), 0.0, 2.0)
  assert row["fault"] == "" and row["flags"] == [] and set(row["facts"]["faces"]) == {1} and row["shape"]
  row |= {"name": "c", "path": path, "recording": "c"}
  crops.choose([row], {}, "face", 0.875, print)
  box = video.Box.parse(row["crop"])
  assert box.width / box.height == pytest.approx(0.875, abs=0.01) and box.within(1080, 1920)
  frames = video.read_video(path, height=256, width=224, crop=box, length=1.0)
  (found,) = face.find_faces(frames[10])
  assert found.middle == pytest.approx([112, 128], abs=40) and 60 < found.side < 160
  two = np.concatenate([frames, frames[:, :, ::-1]], axis=2)
  looked = examine(str(media.record(tmp_path / "two.mp4", two, media.speech(0, 1.0))), Look(False, True))
  assert looked["flags"] == ["several_faces"]
  nobody = examine(str(media.clip(tmp_path / "none.mp4", 0)), Look(False, True))
  assert nobody["flags"] == ["no_face"] and nobody["shape"] == ""
