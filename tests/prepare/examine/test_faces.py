"""Faces of real people: they are seen, framed and counted."""

import os

import numpy as np
import pytest

from nwt_jax.io import video
from nwt_jax.io.box import Box
from nwt_jax.metrics import face
from nwt_jax.prepare.examine import crops
from tests import media
from tests.preparing import examined


def _natural(name):
  root = os.environ.get("NWT_DATA")
  if not root or not face.available():
    pytest.skip("set NWT_DATA to a folder that holds natural/, and install the extra `faces`, to look at faces")
  return f"{root}/natural/{name}.mp4"


def test_faces_are_seen_and_framed(tmp_path):
  path = _natural("latentsync_demo1")
  clip = examined(path, 0.0, 2.0, faces=True)
  assert clip.fault == "" and clip.flags == [] and set(clip.facts["faces"]) == {1} and clip.shape
  (clip,) = crops.choose([clip], "face", 0.875, print)
  box = Box.parse(clip.crop)
  assert box.width / box.height == pytest.approx(0.875, abs=0.01) and box.within(1080, 1920)
  frames = video.read_video(path, height=256, width=224, crop=box, length=1.0)
  (found,) = face.find_faces(frames[10])
  assert found.middle == pytest.approx([112, 128], abs=40) and 60 < found.side < 160
  two = np.concatenate([frames, frames[:, :, ::-1]], axis=2)
  looked = examined(media.record(tmp_path / "two.mp4", two, media.speech(0, 1.0)), faces=True)
  assert looked.flags == ["several_faces"]
  nobody = examined(media.clip(tmp_path / "none.mp4", 0), faces=True)
  assert nobody.flags == ["no_face"] and nobody.shape == ""
