"""The pixel ruler: it reads the drawn truth in every episode and style, through blur, JPEG and half the size."""

import cv2
import numpy as np
import pytest

from nwt_jax.errors import InputError
from nwt_jax.talker.clip import EPISODES, render
from nwt_jax.talker.face import gap_of
from nwt_jax.talker.lips import best_lag, correlation, mouth_box, mouth_opening
from tests.talking import moving_face

CLIPS = [(moving_face(i), EPISODES[i], camera, posture, panel) for i, (camera, posture, panel) in enumerate((
  ("centre", "upright", "none"), ("left", "leaning", "right"), ("right", "upright", "left"),
  ("centre", "leaning", "left"), ("left", "upright", "none"), ("right", "leaning", "right"),
  ("left", "upright", "left"), ("right", "upright", "none"),
))]  # fmt: skip


@pytest.fixture(scope="module", params=range(8), ids=EPISODES)
def clip(request):
  motion, episode, camera, posture, panel = CLIPS[request.param]
  style = {"camera": camera, "posture": posture, "panel": panel}
  return render(motion, episode, style, 128, 112), gap_of(motion.opening)


def _each(frames, change):
  return np.stack([change(frame) for frame in frames])


def _jpeg(frame):
  return cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_COLOR)


def test_reads_the_truth(clip):
  frames, truth = clip
  assert correlation(mouth_opening(frames), truth) > 0.99
  assert np.ptp(mouth_opening(frames)) == pytest.approx(np.ptp(truth), rel=0.2)  # in its unit


def test_reads_through_blur_jpeg_and_half_the_size(clip):
  frames, truth = clip
  blurred = _each(frames, lambda frame: cv2.GaussianBlur(frame, (0, 0), 1))
  assert correlation(mouth_opening(blurred), truth) > 0.98
  assert correlation(mouth_opening(_each(frames, _jpeg)), truth) > 0.95
  small = _each(frames, lambda frame: cv2.resize(frame, (56, 64), interpolation=cv2.INTER_AREA))
  assert correlation(mouth_opening(small), truth) > 0.97


def test_says_nothing_about_anothermoving_face(clip):
  frames, _ = clip
  assert correlation(mouth_opening(frames), gap_of(moving_face(99).opening)) < 0.6


def test_the_box_holds_the_mouth():
  motion = CLIPS[0][0]
  boxes = {}
  for camera in ("left", "centre", "right"):
    style = {"camera": camera, "posture": "upright", "panel": "none"}
    top, bottom, left, right = boxes[camera] = mouth_box(render(motion, "kitchen", style, 128, 112))
    assert top < 66 and bottom > 79
  assert boxes["left"][2] + 5 < boxes["centre"][2] < boxes["right"][2] - 5
  assert boxes["centre"][2] < 56 - 9 and boxes["centre"][3] > 56 + 9


def test_a_still_clip_reads_as_still():
  assert np.ptp(mouth_opening(np.full((3, 64, 56, 3), 120, np.uint8))) == 0


def test_correlation_and_lag():
  a = np.sin(np.linspace(0, 20, 80)) + np.cos(np.linspace(0, 47, 80))
  assert correlation(a, 3 * a + 1) == pytest.approx(1)
  assert correlation(a, -a) == pytest.approx(-1)
  assert best_lag(a, a) == 0
  assert best_lag(a[3:], a[:-3], 6) == 3  # b shows at frame 3 what a shows at frame 0
  assert best_lag(a[:-2], a[2:], 6) == -2


@pytest.mark.parametrize(
  "still", [np.zeros(80), np.full(80, 0.1), np.full(80, np.nan), 0.3 + 1e-17 * np.arange(80), np.zeros(0), np.ones(1)]
)
def test_a_track_that_does_not_move_says_nothing(still):
  a = np.sin(np.arange(80.0))
  for pair in ((a, still), (still, a), (still, still)):
    assert correlation(*pair) is None and best_lag(*pair) is None


def test_a_small_movement_counts():
  a = np.sin(np.arange(80.0))
  assert correlation(a, 0.2 + 1e-6 * a) == pytest.approx(1) and best_lag(a, 0.2 + 1e-6 * a) == 0


def test_lags_at_which_what_is_left_is_still_do_not_count():
  step = np.zeros(12)
  step[0] = 1.0  # cut away by every lag but 0
  assert best_lag(step, step) == 0


def test_other_arrays_are_refused():
  with pytest.raises(InputError, match="want RGB frames"):
    mouth_opening(np.zeros((4, 64, 56), np.uint8))
