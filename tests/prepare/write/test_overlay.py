"""What becomes of the pictures of a clip: masked as in the paper, before scaling, and brought to 30 a second."""

import itertools

import cv2
import numpy as np

from nwt_jax.io import video
from nwt_jax.prepare.options import Picture
from nwt_jax.prepare.write import overlay
from tests import media
from tests.preparing import frames_of


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
  read, _ = frames_of(path, Picture(40, 40, 30, "png", overlay_mask=True))
  plain, _ = frames_of(path, Picture(40, 40, 30, "png"))
  assert read[:, 12:28, 1:8].min() == 255 and plain[:, 12:28, 1:8].max() < 250
  assert np.abs(read[:, :, 15:].astype(float) - plain[:, :, 15:]).mean() < 2


def test_motion_interpolation_keeps_the_duration(tmp_path):
  path = media.clip(tmp_path / "c.mp4", 4, 1.6, rate=15.0)
  repeated, moved = (video.read_video(path, motion=motion) for motion in (False, True))
  assert len(repeated) == 48 and abs(len(moved) - 48) <= 3
  same = lambda frames: sum(np.array_equal(a, b) for a, b in itertools.pairwise(frames))
  assert same(repeated) >= 20 and same(moved) <= 3  # every second frame of the first is the one before
