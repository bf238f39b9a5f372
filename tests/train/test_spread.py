"""What a large data set shows to those who look at some of its clips: 215 episodes of 75 clips, most of them unread."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from nwt_jax import evaluate
from nwt_jax.configs import far
from nwt_jax.data import clips
from nwt_jax.data.tokens import Tokens
from nwt_jax.train.stages import dvae, prior, prior_data
from tests import priors

EPISODES, CLIPS = 215, 75


class Many(clips.Clips, Tokens):
  """The records that the paper's data set would have; notes what is read. Frames and codes are zeros."""

  def __init__(self, path="", split="train"):
    self.path, self.split, self.read = path, split, Many.reads
    self.metadata = {"height": 2, "width": 2, "episodes": [f"evening{e:03d}" for e in range(EPISODES)]}
    self.index = [{"episode": e, "frames": 40} for e in range(EPISODES) for _ in range(CLIPS)]

  def __len__(self):
    return len(self.index)

  def __getitem__(self, clip):
    self.read.append((clip, 0))
    episode = clip // CLIPS
    return {"episode": episode, "codes": np.zeros((40, 2, 2, 2), np.uint8), "video": np.zeros((1, 2, 2, 3), np.uint8)}

  def window(self, clip, start, length):
    self.read.append((clip, start))
    parts = {"codes": (length, 2, 2, 2), "video": (length, 2, 2, 3)}
    return {name: np.zeros(shape, np.uint8) for name, shape in parts.items()} | {"episode": np.int32(clip // CLIPS)}

  def episode_name(self, number):
    return self.metadata["episodes"][number]


@pytest.fixture
def many(monkeypatch):
  monkeypatch.setattr(Many, "reads", [], raising=False)
  return Many()


def episodes_read(many):
  return {clip // CLIPS for clip, _ in many.read}


def test_the_bank_of_styles_covers_all_episodes_and_starts(many):
  codes, episode = prior_data.style_windows(many, 512, 32)
  assert len(codes) == len(episode) == 512 and len(set(episode)) == EPISODES
  assert {start for _, start in many.read} == set(range(9))


def test_rates_of_change_are_measured_in_as_many_episodes_as_clips(many):
  prior_data.change_rate(many, 8)
  assert len(many.read) == len(episodes_read(many)) == prior_data.CLIPS_FOR_RATES


def test_networks_start_from_as_many_episodes_as_windows(many):
  assert dvae.starting_windows(many, 30).shape == (dvae.START_CLIPS, dvae.START_FRAMES, 2, 2, 3)
  assert len(episodes_read(many)) == dvae.START_CLIPS and len({start for _, start in many.read}) > 10


def test_the_clips_that_are_measured_come_from_as_many_episodes(many, monkeypatch):
  monkeypatch.setattr(clips, "Clips", Many)
  monkeypatch.setattr(evaluate, "flags", SimpleNamespace(FLAGS=SimpleNamespace(clips=20)))
  found = evaluate.data_clips("data")
  assert len({clip["episode"] for clip in found}) == 20


def test_an_episodes_mean_frame_leaves_out_clips_from_all_over_it(many, monkeypatch):
  monkeypatch.setattr(clips, "Clips", Many)
  means = evaluate.data_means("data")
  assert len(means) == EPISODES + 1 and len(many.read) == EPISODES * evaluate.BASELINE_CLIPS
  left = sorted(set(range(CLIPS)) - {clip for clip, _ in many.read if clip < CLIPS})
  assert np.diff([-1, *left, CLIPS]).max() < 16


def test_a_prior_is_evaluated_on_windows_from_all_over(token_set, tmp_path, monkeypatch):  # noqa: F811
  config = far.get_config("tiny")
  with config.unlocked():
    config.data.update({"path": str(token_set), "num_threads": 0})
    config.model.update({"num_codes": 16})
    config.eval.clips = 3
  monkeypatch.setattr(prior.inputs, "check_grid", lambda *_: None)
  monkeypatch.setattr(prior, "find_dvae", lambda *_: tmp_path)
  stage = prior.make_stage(config)
  read, window = [], Tokens.window
  monkeypatch.setattr(Tokens, "window", lambda self, *given: read.append(given[:2]) or window(self, *given))
  params = priors.parameters(priors.model("far", num_codes=16, num_episodes=2))
  stage.evaluate(stage.state.replace(prior=jax.device_get(params)), tmp_path)
  assert read == clips.spread(Tokens(token_set, "train").index, 3, 8) and len({start for _, start in read}) > 1
