"""Which clips are looked at where not all can be: of every episode, and from all over each clip."""

import collections

import numpy as np
import pytest

from nwt_jax.data.clips import Clips, spread
from nwt_jax.data.tokens import Tokens


def index(episodes=215, clips=75, frames=100):
  """Rows as 215 evenings of 75 clips each have them, sorted by name."""
  return [{"name": f"{e:03d}_{c:02d}", "episode": e, "frames": frames} for e in range(episodes) for c in range(clips)]


@pytest.mark.parametrize("count, episodes", [(512, 215), (200, 200), (20, 20), (16, 16), (8, 8), (215, 215)])
def test_as_many_episodes_are_covered_as_can_be(count, episodes):
  rows = index()
  chosen = spread(rows, count, 32)
  assert len(chosen) == len({clip for clip, _ in chosen}) == count
  given = collections.Counter(rows[clip]["episode"] for clip, _ in chosen)
  assert len(given) == episodes and max(given.values()) - min(given.values()) <= 1


def test_few_windows_lie_all_over_episodes_clips_and_frames():
  rows = index()
  for count, most in ((8, 0.26), (20, 0.11), (64, 0.04)):
    chosen = spread(rows, count, 32)
    for places in (
      [rows[clip]["episode"] / 215 for clip, _ in chosen],
      [start / 69 for _, start in chosen],
      [clip / 75 for clip, _ in spread(rows[:75], count, 32)],  # of one episode
    ):
      gaps = np.diff([0, *sorted(places), 1])
      assert gaps.max() < most, count
  starts = {start for _, start in spread(rows, 512, 32)}
  assert starts == set(range(100 - 32 + 1))


def test_the_first_windows_of_many_are_the_windows_of_few():
  rows = index(9, 7)
  assert spread(rows, 63, 8)[:20] == spread(rows, 20, 8) == spread(rows, 20, 8)
  assert sorted(clip for clip, _ in spread(rows, 999, 8)) == list(range(63))


def test_episodes_of_few_clips_and_short_clips_have_their_place():
  rows = [{"episode": e, "frames": f} for e, f in ((2, 40), (2, 40), (2, 40), (-1, 40), (0, 5))]
  chosen = spread(rows, 4, 8)
  assert sorted(rows[clip]["episode"] for clip, _ in chosen) == [-1, 0, 2, 2]
  assert dict(chosen)[4] == 0  # shorter than a window
  assert {clip for clip, _ in spread(rows, 9, 8, among=[0, 3])} == {0, 3}
  assert spread([], 4, 8) == []


def test_excerpts_are_frames_with_their_sound(dataset):
  clips = Clips(dataset, "train")
  found = clips.excerpts(9, 10)
  assert len(found) == len(clips)
  for (number, start), part in zip(spread(clips.index, 9, 10), found, strict=True):
    whole = clips[number]
    np.testing.assert_array_equal(part["video"], whole["video"][start : start + 10])
    np.testing.assert_array_equal(part["audio"], whole["audio"][800 * start : 800 * (start + 10)])
    assert (part["name"], part["episode"]) == (whole["name"], whole["episode"]) and start > 0
  (number, start), whole = spread(clips.index, 1, 1_000)[0], clips.excerpts(1, 1_000)[0]
  assert start == 0 and len(whole["video"]) == clips.index[number]["frames"]


def test_a_run_is_judged_on_validation_or_on_training_where_that_is_empty(dataset, token_set):
  assert Clips.held_out(dataset).split == "validation" and Tokens.held_out(token_set).split == "train"
