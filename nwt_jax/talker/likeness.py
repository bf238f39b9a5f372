"""Classifies the episode and style of a talker clip: the nearest of the talker drawn in each (analysis by synthesis).

No network is asked: the references come from the same drawing that made the data, so on true frames the answer is
certain, and what a model shows is called whatever it is nearest to.
"""

import functools
import itertools

import cv2
import numpy as np

from nwt_jax.errors import InputError
from nwt_jax.talker.clip import EPISODES, STYLES, still

_HEIGHT = 64  # of the references, pixels; their width follows the clip's shape

EPISODE_CHANCE = 1 / len(EPISODES)
STYLE_CHANCE = 1 / int(np.prod([len(options) for options in STYLES.values()]))


def classify_episode(frames: np.ndarray) -> str:
  """Names the episode that a clip shows: the nearest of all episodes in every camera and posture.

  Args: frames: uint8 RGB [t h w 3], one episode throughout; cut a clip that changes.
  Returns: one of EPISODES.
  Raises: InputError: not a stack of RGB frames."""
  shown = _mean(frames)
  styles = [style for style in _styles() if style["panel"] == "none"]  # a panel is small beside a change of room
  return min(EPISODES, key=lambda name: min(_distance(shown, name, style) for style in styles))


def classify_style(frames: np.ndarray, episode: str) -> dict:
  """Names the style that a clip of a known episode shows.

  Args: frames: uint8 RGB [t h w 3]. episode: one of EPISODES.
  Returns: {"panel", "camera", "posture"} as in a clip's truth.
  Raises: InputError: not a stack of RGB frames, or an unknown episode."""
  shown = _mean(frames)
  return min(_styles(), key=lambda style: _distance(shown, episode, style))


def _styles():
  return [dict(zip(STYLES, values, strict=True)) for values in itertools.product(*STYLES.values())]


def _mean(frames):
  """The clip's mean frame at the references' size, float32 [64 w 3]."""
  frames = np.asarray(frames)
  if frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
    raise InputError(f"likeness got an array of shape {frames.shape}; want RGB frames [t, h, w, 3] with t > 0")
  height, width = frames.shape[1:3]
  mean = frames.mean(0, dtype=np.float64).astype(np.float32)
  return cv2.resize(mean, (round(_HEIGHT * width / height), _HEIGHT), interpolation=cv2.INTER_AREA)


def _distance(shown, episode, style):
  reference = _reference(episode, *(style[key] for key in STYLES), shown.shape[1])
  # Softened, so that a codec's blur or a head that turned weighs less than what stands elsewhere.
  return float((cv2.GaussianBlur(shown - reference, (0, 0), 1.5) ** 2).mean())


@functools.lru_cache(maxsize=512)
def _reference(episode, panel, camera, posture, width):
  style = {"panel": panel, "camera": camera, "posture": posture}
  return still(episode, style, _HEIGHT, width).astype(np.float32)
