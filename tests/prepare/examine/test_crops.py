"""The part of the picture to keep: one box a recording, tight or not, and shown on the pages."""

import contextlib
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from nwt_jax.errors import InputError
from nwt_jax.io import video
from nwt_jax.io.video import Box
from nwt_jax.metrics import face
from nwt_jax.prepare import __main__ as prepare
from nwt_jax.prepare import pipeline
from nwt_jax.prepare.examine import crops
from nwt_jax.prepare.examine.clip import FLAGS, examine
from nwt_jax.prepare.review import manifest, pages
from nwt_jax.talker.clip import render
from tests import media
from tests.talking import moving_face


def _row(name, recording, heads, shown=(1000, 500), path=None, **more):
  """heads: x, y, side of the one face in each picture, parts of the height."""
  row = {"name": name, "recording": recording, "path": path or f"/{name}.mp4", "fault": "", "flags": []}
  return row | {"shown": list(shown), "strip": len(heads), "heads": [[head] if head else [] for head in heads]} | more


def _choose(rows, crop, aspect=0.875, given=None):
  said = []
  crops.choose(rows, given or {}, crop, aspect, said.append)
  return [row["crop"] for row in rows], said


def test_pieces_of_a_take_and_parts_of_a_file_share_one_box():
  left, middle, right = ([(x, 0.5, 0.2)] * 8 for x in (0.8, 0.9, 1.0))
  rows = [_row("p0", "take", left), _row("p1", "take", middle), _row("p2", "take", right)]
  rows += [
    _row("q0", "q0", left, path="/q.mp4"),
    _row("q1", "q1", [*right, *right], path="/q.mp4"),
    _row("r", "r", left),
  ]
  boxes, _ = _choose(rows, "face")
  centre = lambda box: Box.parse(box).left + Box.parse(box).width / 2
  assert boxes[0] == boxes[1] == boxes[2] and centre(boxes[0]) == pytest.approx(450, abs=1)  # the median, x 500 pixels
  assert (
    boxes[3] == boxes[4]
    and centre(boxes[3]) == pytest.approx(500, abs=1)
    and centre(boxes[5]) == pytest.approx(400, abs=1)
  )


def test_a_recording_whose_size_changes_has_a_box_for_each_size():
  rows = [_row("a", "take", [(0.9, 0.5, 0.2)] * 8), _row("b", "take", [(0.9, 0.5, 0.2)] * 8, shown=(2000, 1000))]
  (small, large), _ = _choose(rows, "head")
  assert Box.parse(large).height == pytest.approx(2 * Box.parse(small).height, abs=2)


@pytest.mark.parametrize("crop, tall", [("face", 240), ("head", 160)])
def test_the_framing_in_sides_of_the_face(crop, tall):
  (text,), _ = _choose([_row("a", "a", [(1.0, 0.5, 0.2)] * 8)], crop)  # a side of 100 pixels
  box = Box.parse(text)
  assert box.height == pytest.approx(tall, abs=1) and box.width == pytest.approx(0.875 * tall, abs=1)
  assert box.left + box.width / 2 == pytest.approx(500, abs=1) and 0 < 250 - (box.top + box.height / 2) < 15
  (narrow,), _ = _choose([_row("a", "a", [(1.0, 0.5, 0.2)] * 8)], crop, aspect=0.4)
  assert Box.parse(narrow).width == pytest.approx(140, abs=1)  # the ears stay


def test_boxes_stay_in_the_picture_and_without_a_face_it_is_the_middle():
  rows = [
    _row("corner", "a", [(0.05, 0.05, 0.4)] * 8),
    _row("large", "b", [(1.0, 0.5, 0.9)] * 8),
    _row("nobody", "c", [None] * 8),
  ]
  (corner, large, nobody), _ = _choose(rows, "face")
  assert Box.parse(corner)[2:] == (0, 0) and all(Box.parse(box).within(1000, 500) for box in (corner, large, nobody))
  assert nobody == "437x500+281+0"


def test_a_face_that_leaves_the_box_is_flagged():
  moved = [(0.9, 0.5, 0.2)] * 6 + [(1.3, 0.5, 0.2)] * 2
  rows = [_row("still", "a", [(0.9, 0.5, 0.2)] * 8), _row("moved", "b", moved), _row("once", "c", moved[:7])]
  _choose(rows, "head")
  assert [row["flags"] for row in rows] == [[], ["face_outside"], []]
  assert "face leaves the part that is kept in 1 of 3 clips" in crops.notes(rows, "head", 256)[0]
  rows = [_row("still", "a", [(0.9, 0.5, 0.2)] * 8)]
  _choose(rows, "100x100+0+0")  # a box that a user gave misses the face
  assert rows[0]["flags"] == ["face_outside"] and "face_outside" in FLAGS


def test_a_box_that_the_picture_does_not_hold_is_a_fault_and_a_lists_box_comes_first():
  rows = [_row("wide", "a", []), _row("small", "b", [], shown=(90, 90)), _row("own", "c", [], shown=(90, 90))]
  boxes, said = _choose(rows, "80x100+0+0", given={"own": "50x50+1+2"})
  assert boxes == ["80x100+0+0", "", "50x50+1+2"] and [row["fault"] for row in rows] == ["", "crop_outside", ""]
  assert said == ["left out: /small.mp4: the box 80x100+0+0 reaches outside its 90 x 90 pixels; give another"]
  assert crops.parse("head") == "head" and crops.parse(None) == "" == crops.parse("")
  with pytest.raises(InputError, match="write WIDTHxHEIGHT"):
    crops.parse("heads")


def test_small_mouths_are_told_with_what_helps():
  rows = [_row("a", "a", [(0.9, 0.5, 0.25)] * 8)]
  _choose(rows, "")
  (line,) = crops.notes(rows, "", 64)  # 0.14 sides of 16 pixels
  assert line == "lips are about 2.2 pixels high: --crop=head makes that 5.6, a larger --height and --width more"
  assert crops.notes(rows, "", 256) == []
  _choose(rows, "head")
  assert crops.notes(rows, "head", 64) == []
  assert crops.notes(rows, "head", 32) == ["lips are about 2.8 pixels high: a larger --height and --width more"]


TINY = {"height": 16, "width": 16, "faces": False, "workers": 1}


def test_another_crop_does_not_examine_again_and_the_pages_show_it(tmp_path, monkeypatch):
  for seed in range(3):
    media.clip(tmp_path / "in" / f"c{seed}.mp4", seed, 1.0)
  looked = []
  monkeypatch.setattr(pipeline, "examine", lambda path, *rest: looked.append(path) or examine(path, *rest))
  for crop in ("", "24x36+48+18", "24x37+48+36"):  # of 96 x 72; the last is too low
    with pytest.raises(InputError, match="reaches outside") if crop[3:5] == "37" else contextlib.nullcontext():
      prepare.prepare(tmp_path / "out", pattern=str(tmp_path / "in"), crop=crop, stop_after="examine", **TINY)
    page = (tmp_path / "out.work" / pages.REVIEW).read_text()
    data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    wanted = [0.5, 0.25, 0.25, 0.5, 8] if crop else []
    assert [clip["crop"] for clip in data["clips"]] == [wanted] * 3
  assert len(looked) == 3
  prepare.prepare(tmp_path / "out", pattern=str(tmp_path / "in"), crop="24x36+48+18", **TINY)
  rows = manifest.read(tmp_path / "out" / manifest.NAME)
  assert len(looked) == 3 and {row["crop"] for row in rows} == {"24x36+48+18"}
  assert not {"heads", "shape", "shown", "strip"} & set(rows[0])
  inner = '<b style="left:50.00%;top:25.00%;width:25.00%;height:50.00%">'
  assert (tmp_path / "out" / pages.REPORT).read_text().count(inner) == 3 * 8


def test_a_take_that_is_cut_has_one_box(tmp_path):
  """A drawn speaker who has moved aside in the second half: both pieces keep the same part."""
  if not face.available():
    pytest.skip("faces need the extra `faces`")
  style = {"camera": "centre", "posture": "upright", "panel": "none"}
  drawn = render(moving_face(3, 50), "library", style, 128, 128)
  wide = np.full((50, 128, 192, 3), 90, np.uint8)
  wide[:25, :, :128], wide[25:, :, 32:160] = drawn[:25], drawn[25:]
  media.record(tmp_path / "in" / "take.mp4", wide, media.speech(0, 2.0))
  options = {"pattern": str(tmp_path / "in"), "height": 32, "width": 28, "workers": 1, "stop_after": "examine"}
  heights = {}
  for crop in ("face", "head"):
    prepare.prepare(tmp_path / "out", crop=crop, split_seconds=0.9, **options)
    rows = manifest.read(tmp_path / "out.work" / manifest.NAME)
    assert len(rows) >= 2 and len({row["crop"] for row in rows}) == 1
    assert all(set(row["facts"]["faces"]) == {1} for row in rows)
    heights[crop] = Box.parse(rows[0]["crop"]).height
  assert heights["head"] < heights["face"]
  assert cv2.imread(str(next((tmp_path / "out.work" / "pictures").glob("*.jpg")))) is not None


@pytest.mark.slow
def test_how_much_of_real_faces_is_kept():
  """docs/preparation.md has these numbers: pixels of both lips at 64 x 56, and how often all of a face stays inside."""
  root = os.environ.get("NWT_DATA")
  if not root or not face.available():
    pytest.skip("set NWT_DATA to the folder of recordings, and install the extra `faces`")
  names = [line.split(",")[0] for line in Path(root, "grid_s1/clips.csv").read_text().splitlines()[1::40]]
  paths = [Path(root, "grid_s1/clips", f"{name}.mp4") for name in names]
  paths += [*Path(root, "natural").glob("*.mp4"), *Path(root, "nwt_paper/video_compression/gt").glob("*.mp4")]
  lips, inside = {"face": [], "head": []}, []
  for path in sorted(paths):
    frames = video.read_video(path, 5, max_height=480)
    seen = [(found[0], mesh) for found, mesh in map(face.see, frames) if found]
    height, width = frames.shape[1:3]
    heads = [[*(found.middle / height), found.side / height] for found, _ in seen]
    for crop in lips:
      (text,), _ = _choose([_row(path.stem, path.stem, heads, shown=(width, height))], crop)
      box = Box.parse(text)
      tall = [np.ptp(mesh[[0, 17, 37, 267, 84, 314], 1]) for _, mesh in seen]
      lips[crop].append(float(np.median(tall)) * 64 / box.height)
    low, high = np.array(box[2:]), np.array(box[2:]) + box[:2]
    within = [(low <= mesh[:, :2].min(0)).all() and (mesh[:, :2].max(0) <= high).all() for _, mesh in seen]
    inside.append(float(np.mean(within)))
    print(f"{path.stem}: lips {lips['face'][-1]:.1f} and {lips['head'][-1]:.1f} pixels, inside {inside[-1]:.3f}")
  assert min(lips["head"]) > 4.4 and min(np.array(lips["head"]) - lips["face"]) >= 0.3 and np.median(inside) == 1
