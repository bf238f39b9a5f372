"""The paper's box and mask are in pixels of 1280 x 720; pictures of other sizes keep the same part (D.3, D.6)."""

import cv2
import numpy as np
import pytest

from nwt_jax.errors import InputError
from nwt_jax.io import video
from nwt_jax.io.video import Box
from nwt_jax.prepare import __main__ as prepare
from nwt_jax.prepare.acquire import recordings
from nwt_jax.prepare.review import manifest
from nwt_jax.prepare.write import overlay, records
from tests import media


@pytest.mark.parametrize(
  "size, kept",
  [
    ((1280, 720), "623x712+507+8"),
    ((1920, 1080), "935x1068+760+12"),  # 760.5 to 1695, 12 to 1080
    ((3840, 2160), "1869x2136+1521+24"),
    ((640, 360), "311x356+254+4"),  # 253.5 to 565
    ((854, 480), "416x475+338+5"),
    ((1920, 1088), "935x1076+760+12"),  # as codecs store 1080 lines
  ],
)
def test_the_papers_box_keeps_its_part_of_any_size(size, kept):
  box = Box.parse(prepare.LWT_BOX)
  assert str(box) == prepare.LWT_BOX and box == ((623, 712, 507, 8), (1280, 720))
  assert str(box.on(*size)) == kept and box.on(*size).within(*size)
  assert Box.parse("623x712+507+8").on(1920, 1080) == Box.parse("623x712+507+8")  # without: the picture's own pixels


def test_what_does_not_fit_is_refused():
  for size in ((960, 720), (720, 1280), (1280, 544)):
    with pytest.raises(InputError, match=f"another shape of picture than {size[0]} x {size[1]}"):
      Box.parse(prepare.LWT_BOX).on(*size)
  with pytest.raises(InputError, match="reaches outside its 640 x 360"):
    Box.parse("623x712+507+8").on(640, 360)
  for text in ("1x1+0+0@", "1x1+0+0@0x9", "1x1+0+0@9x0", "0x1+0+0", "1x0+0+0", "1x1+0", "1x1+0+0@2x", "axb+0+0"):
    with pytest.raises(InputError, match="is not understood"):
      Box.parse(text)


def test_pictures_of_other_sizes_are_cropped_to_the_same_part(tmp_path):
  scene = media.pictures(5, 25, 360, 640)
  for height, width in ((360, 640), (180, 320), (270, 480)):
    frames = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in scene])
    media.record(tmp_path / "in" / f"{width}x{height}.mp4", frames, media.speech(5, 1.0))
  media.clip(tmp_path / "in" / "96x72.mp4", 6, 1.0)
  prepare.prepare(tmp_path / "out", str(tmp_path / "in"), crop=prepare.LWT_BOX, height=16, width=16, faces=False)
  rows = {row["name"]: row for row in manifest.read(tmp_path / "out" / manifest.NAME)}
  refused = rows.pop("96x72")
  assert refused["fault"] == "crop_outside" and "another shape of picture than 96 x 72" in refused["reason"]
  kept = {}
  for name, row in rows.items():
    size = tuple(map(int, name.split("x")))
    assert row["fault"] == "" and row["crop"] == str(Box.parse(prepare.LWT_BOX).on(*size))
    kept[name] = video.read_video(row["path"], height=64, width=56, crop=Box.parse(row["crop"])).astype(float)
  for name in ("320x180", "480x270"):
    assert np.abs(kept[name] - kept["640x360"]).mean() < 2.0


def test_the_preset_asks_for_720_lines_and_scales_what_comes(tmp_path, monkeypatch):
  source = media.record(tmp_path / "s.mp4", media.pictures(5, 30, 180, 320), media.speech(5, 1.2))
  (tmp_path / "yt_dlp.py").write_text(
    "import json, shutil, sys\n"
    f"json.dump(sys.argv, open({str(tmp_path / 'asked')!r}, 'w'))\n"
    f"shutil.copy({str(source)!r}, 'video.mp4')\n"
  )
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setenv("PYTHONPATH", str(tmp_path))
  (tmp_path / "l.txt").write_text("https://example.org/a\n")
  given = {**prepare.PRESETS["lwt"], "height": 32, "width": 28, "faces": False, "workers": 1}
  prepare.prepare(tmp_path / "out", str(tmp_path / "l.txt"), **given)
  assert '"--format-sort", "res:720"' in (tmp_path / "asked").read_text()
  (row,) = manifest.read(tmp_path / "out" / manifest.NAME)
  assert row["kept"] and row["crop"] == "155x178+127+2"
  found = recordings.read_list(tmp_path / "l.txt")
  recordings.acquire(found, tmp_path / "again", lambda text: None)
  assert "--format-sort" not in (tmp_path / "asked").read_text()


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5])
def test_the_masks_numbers_grow_with_the_picture(scale):
  frames = np.full((1, round(712 * scale), round(623 * scale), 3), 60, np.uint8)
  boxes = {  # top, left, height, width in a picture of 720 lines; whether the paper's rules cover it
    (100, 16, 120, 100): True,  # at the left edge
    (600, 300, 90, 200): True,  # low
    (100, 300, 120, 100): False,  # in the middle
    (300, 4, 70, 100): False,  # less than 80 high
    (400, 8, 90, 40): False,  # 3,600 pixels
    (240, 30, 50, 20): False,  # right of the edge
  }
  part = lambda first, length: slice(round(first * scale), round((first + length) * scale))
  at = lambda box: (0, part(box[0], box[2]), part(box[1], box[3]))
  for box in boxes:
    frames[at(box)] = 200
  masked = overlay.mask(frames, round(720 * scale))
  for box, covered in boxes.items():
    assert (masked[at(box)] == (255 if covered else 200)).all(), box


def test_a_clip_is_masked_by_the_height_it_was_cropped_from(tmp_path):
  """A bar of 100 lines at the left, of a picture of 1440: under the paper's 80 of 720."""
  frames = np.full((25, 1440, 160, 3), 60, np.uint8)
  frames[:, 400:500, :120] = 220
  path = media.record(tmp_path / "c.mp4", frames, media.speech(3, 1.0))
  picture = records.Picture(72, 16, 30, "png", overlay_mask=True)
  whole = records.FileClip("c", str(path)).read(picture)[0]
  cropped = records.FileClip("c", str(path), crop="160x720+0+100").read(picture)[0]
  assert whole[:, 20:25, 1:11].max() < 240 and cropped[:, 31:39, 1:11].max() < 240
  frames[:, 400:600, :120] = 220
  path = media.record(tmp_path / "d.mp4", frames, media.speech(3, 1.0))
  assert records.FileClip("d", str(path), crop="160x720+0+100").read(picture)[0][:, 32:48, 1:11].min() > 250
