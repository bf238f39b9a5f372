"""Preparation step by step: cut, examined, reviewed, masked, and the same after a kill."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nwt_jax.data.clips import Clips
from nwt_jax.errors import InputError
from nwt_jax.io import video
from nwt_jax.names import SPLITS
from nwt_jax.prepare import cache
from nwt_jax.prepare.clip import FLAGS, ClipRecord
from nwt_jax.prepare.examine import examination
from nwt_jax.prepare.review import manifest, pages
from nwt_jax.prepare.write import shards
from tests import media
from tests.conftest import ROOT
from tests.preparing import prepare

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
  made = prepare(tmp_path / "out", input=str(mixed), **TINY)
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
  assert prepare(tmp_path / "out", input=str(mixed), stop_after="examine", **TINY) is None
  said = capsys.readouterr().out
  assert "7 clips to review, 1 rejected" in said and str(tmp_path / "out.work" / "review.html") in said
  assert not (tmp_path / "out").exists()
  page = (tmp_path / "out.work" / pages.REVIEW).read_text()
  assert "mute" not in page and '"jump"' in page and page.count(".jpg") == 7
  decisions = {"c1": {"keep": False, "reason": "subject is holding objects"}, "jump": {"keep": True, "reason": ""}}
  decisions["mute"] = {"keep": True, "reason": ""}  # nobody can keep what cannot be trusted
  (tmp_path / "d.json").write_text(json.dumps(decisions))
  prepare(tmp_path / "out", input=str(mixed), decisions=tmp_path / "d.json", auto=["all"], **TINY)
  rows = rows_of(tmp_path / "out")
  assert (rows["c1"]["kept"], rows["c1"]["reason"]) == (False, "subject is holding objects")
  assert rows["jump"]["kept"] and rows["jump"]["decided_by"] == "review" and not rows["mute"]["kept"]
  prepare(tmp_path / "auto", input=str(mixed), auto=["cut"], **TINY)
  dropped = rows_of(tmp_path / "auto")["jump"]
  assert (dropped["kept"], dropped["decided_by"], dropped["reason"]) == (False, "--auto", FLAGS["cut"])
  with pytest.raises(InputError, match="--auto=cats: choose from all, no_face"):
    prepare(tmp_path / "no", input=str(mixed), auto=["cats"], **TINY)
  (tmp_path / "d.json").write_text('{"c1": "no"}')
  with pytest.raises(InputError, match="holds no decisions"):
    prepare(tmp_path / "no", input=str(mixed), decisions=tmp_path / "d.json", **TINY)


def test_names_from_outside_stay_text(tmp_path):
  name = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
  clip = ClipRecord(name, name, name, origin=name, reason=name, flags=["cut"], length=1.0, kept=False)
  pages.write_review(tmp_path / "r.html", [clip], {}, name)
  metadata = {"splits": {"train": 1}, "frames": {"train": 30}}
  pages.write_report(tmp_path / "p.html", [clip, replace(clip, kept=True)], {}, metadata, {name: name})
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


@pytest.mark.slow
def test_fault_40_preparation_killed_and_run_again_writes_the_same_bytes(mixed, tmp_path):
  """kill -9 at several moments; then the same bytes as without, and nothing twice."""
  whole = prepare(tmp_path / "whole", input=str(mixed), **TINY)
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
  prepare(tmp_path / "out", input=str(mixed), stop_after="examine", **TINY)
  again = []
  examine = examination.examine
  monkeypatch.setattr(examination, "examine", lambda clip, *rest: again.append(clip.path) or examine(clip, *rest))
  made = prepare(tmp_path / "out", input=str(mixed), **TINY)
  assert sum(made["splits"].values()) == 7 and again == [str(mixed / "mute.mp4")]
  assert len(set(cache.ResultCache(tmp_path / "none").known)) == 0


@pytest.mark.parametrize("change", ["a clip more", "a file changed"])
def test_stale_shards_are_not_taken_up(mixed, tmp_path, monkeypatch, change):
  """After a call that was cut off when its shards were written, what was prepared of other clips may not be used."""
  (tmp_path / "in").mkdir()
  for seed in range(5):
    (tmp_path / "in" / f"c{seed}.mp4").write_bytes((mixed / f"c{seed}.mp4").read_bytes())
  monkeypatch.setattr(shards.dataset, "describe_dataset", lambda *_: (_ for _ in ()).throw(RuntimeError("cut off")))
  with pytest.raises(RuntimeError, match="cut off"):
    prepare(tmp_path / "out", input=str(tmp_path / "in"), episodes="recordings", image_format="png", **TINY)
  monkeypatch.undo()
  # The first by name: every episode's number changes. Another clip, just as long, in place of one.
  target = "b" if change == "a clip more" else "c1"
  (tmp_path / "in" / f"{target}.mp4").write_bytes((mixed / "c5.mp4").read_bytes())
  prepare(tmp_path / "out", input=str(tmp_path / "in"), episodes="recordings", image_format="png", **TINY)
  found = {clip["name"]: clip for split in SPLITS for clip in _all(tmp_path / "out", split)}
  clips = Clips(tmp_path / "out", "train")
  for name, clip in found.items():
    np.testing.assert_array_equal(clip["video"], video.read_video(tmp_path / "in" / f"{name}.mp4", 30, 16, 16))
    assert clips.episode_name(clip["episode"]) in (name, "mean")


def test_what_is_not_ours_stays(mixed, tmp_path):
  prepare(tmp_path / "out", input=str(mixed), stop_after="examine", **TINY)
  saved = tmp_path / "out.work" / "decisions.json"
  saved.write_text('{"c1": {"keep": false}}')
  prepare(tmp_path / "out", input=str(mixed), decisions=saved, **TINY)
  assert os.listdir(tmp_path / "out.work") == ["decisions.json"]
  assert prepare(tmp_path / "out", input=str(mixed), decisions=saved, **TINY)["skipped"].keys() == {
    "c1",
    "mute",
  }


def test_the_output_is_no_input(mixed, tmp_path):
  for name in ("c1.mp4", "c2.mp4"):
    (tmp_path / name).write_bytes((mixed / name).read_bytes())
  for _ in range(2):
    prepare(tmp_path / "out", input=str(tmp_path), split_seconds=0.5, stop_after="split", **TINY)
  made = prepare(tmp_path / "out", input=str(tmp_path), split_seconds=0.5, **TINY)
  assert sum(made["splits"].values()) == len(rows_of(tmp_path / "out")) == 4  # cut at 0.96 s


def test_two_programs_do_not_write_one_data_set(mixed, tmp_path):
  with cache.workdir(tmp_path / "out"), pytest.raises(InputError, match="another program is preparing"):
    prepare(tmp_path / "out", input=str(mixed), **TINY)
  assert prepare(tmp_path / "out", input=str(mixed), **TINY)["skipped"].keys() == {"mute"}


def test_parts_of_one_file_stay_together(mixed, tmp_path):
  lines = [
    {"path": str(mixed / f"c{i}.mp4"), "name": f"c{i}_{n}", "start": 0.4 * n, "end": 0.4 * n + 0.4}
    for i in range(6)
    for n in range(3)
  ]
  (mixed / "parts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  prepare(tmp_path / "out", input=str(mixed / "parts.jsonl"), **TINY)
  rows = rows_of(tmp_path / "out")
  assert len(rows) == 18 and all(len({rows[f"c{i}_{n}"]["split"] for n in range(3)}) == 1 for i in range(6))
  with pytest.raises(InputError, match="part of its file already"):
    prepare(tmp_path / "no", input=str(mixed / "parts.jsonl"), split_seconds=1.0, **TINY)


def test_a_picture_that_starts_late_keeps_its_times(mixed, tmp_path):
  """The clock starts with the sound; the manifest is a list whose times the program takes."""
  late = ["-itsoffset", "0.12", "-i", mixed / "c1.mp4", "-map", "1:v", "-map", "0:a", "-c", "copy"]
  media.remux(mixed / "c1.mp4", tmp_path / "late.mkv", *late)
  first = prepare(tmp_path / "out", input=str(tmp_path / "late.mkv"), **TINY)
  (row,) = rows_of(tmp_path / "out").values()
  assert row["start"] == 0.0 and row["end"] == pytest.approx(1.32, abs=0.03)
  again = prepare(tmp_path / "b", input=str(tmp_path / "out" / manifest.NAME), root="/", **TINY)
  assert again["frames"] == first["frames"]


def test_names_that_cannot_be(mixed, tmp_path):
  (tmp_path / "in").mkdir()
  (tmp_path / "in" / "Hello, world.mp4").write_bytes((mixed / "c1.mp4").read_bytes())
  with pytest.raises(InputError, match="cannot name an episode"):
    prepare(tmp_path / "out", input=str(tmp_path / "in"), episodes="recordings", **TINY)
  os.rename(tmp_path / "in" / "Hello, world.mp4", os.fsencode(tmp_path / "in") + b"/caf\xe9.mp4")
  made = prepare(tmp_path / "out", input=str(tmp_path / "in"), **TINY)
  assert made["splits"]["train"] == 1 and list(rows_of(tmp_path / "out")) == ["caf\ufffd"]
  with pytest.raises(InputError, match="--crop=face looks for faces"):
    prepare(tmp_path / "no", input=str(tmp_path / "in"), crop="face", **TINY)
  (tmp_path / "file").write_text("x")
  with pytest.raises(InputError, match="cannot write"):
    prepare(tmp_path / "file" / "out", input=str(tmp_path / "in"), **TINY)


def test_one_step_alone(mixed, tmp_path, capsys):
  prepare(tmp_path / "out", input=str(mixed), stop_after="split", split_seconds=0.5, **TINY)
  assert "recordings lost" in capsys.readouterr().out
  pieces = list((tmp_path / "out.work" / "segments").rglob("*.mkv"))
  assert len(pieces) > 8 and not (tmp_path / "out").exists()


def test_without_beam_the_extra_is_named(mixed, tmp_path, refused):
  if importlib.util.find_spec("apache_beam") is not None:
    pytest.skip("apache-beam is installed")
  said = refused("prepare", f"--input={mixed}", f"--output={tmp_path / 'o'}", "--engine=beam")
  assert "nwt_jax[beam]" in said
