"""The judges of episode and style call what the drawing drew, also when it is soft."""

import itertools

import cv2
import numpy as np
import pytest

from nwt_jax.errors import InputError
from nwt_jax.talker.clip import EPISODES, STYLES, render
from nwt_jax.talker.likeness import EPISODE_CHANCE, STYLE_CHANCE, classify_episode, classify_style
from nwt_jax.talker.motion import Motion


def _clip(seed, episode, style):
  rng = np.random.default_rng(seed)
  tracks = [rng.uniform(0, 1, 4).astype(np.float32) for _ in range(8)]
  motion = Motion(*tracks, rng.uniform(-0.8, 0.8, (4, 3)).astype(np.float32))
  return render(motion, episode, style, 64, 56)


def test_names_every_episode():
  styles = [dict(zip(STYLES, values, strict=True)) for values in itertools.product(*STYLES.values())]
  for i, episode in enumerate(EPISODES):
    frames = _clip(i, episode, styles[(5 * i + 2) % len(styles)])
    assert classify_episode(frames) == episode
    assert classify_episode(np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in frames])) == episode


def test_names_every_style_of_an_episode():
  for i, values in enumerate(itertools.product(*STYLES.values())):
    style = dict(zip(STYLES, values, strict=True))
    assert classify_style(_clip(i, "harbour", style), "harbour") == style


def test_size_of_the_clip_does_not_matter():
  style = {"panel": "right", "camera": "left", "posture": "leaning"}
  frames = np.stack([cv2.resize(frame, (112, 128)) for frame in _clip(0, "dusk", style)])
  assert classify_episode(frames) == "dusk" and classify_style(frames, "dusk") == style


def test_chance_is_one_over_the_choices():
  assert EPISODE_CHANCE == 1 / 8 and STYLE_CHANCE == 1 / 18


def test_other_arrays_are_refused():
  with pytest.raises(InputError, match="want RGB frames"):
    classify_episode(np.zeros((64, 56, 3), np.uint8))
