"""Splits: about 90 / 5 / 5 in each episode, recordings never apart, training first."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwt_jax.data.splits import SPLITS, Entry, assign
from nwt_jax.errors import InputError


def clips(count, episodes=1, per_source=1):
  return [Entry(f"c{i:05d}", f"e{i // per_source % episodes}", f"s{i // per_source}") for i in range(count)]


def counts(dealt):
  return [len(dealt[split]) for split in SPLITS]


@pytest.mark.parametrize(
  "count, wanted", [(1, [1, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1]), (4, [2, 1, 1]), (100, [90, 5, 5])]
)
def test_training_comes_first_then_validation_then_test(count, wanted):
  assert counts(assign(clips(count))) == wanted


def test_each_episode_is_split_alike_and_small_episodes_add_up():
  dealt = assign(clips(1000, 4))
  for split, wanted in zip(SPLITS, (225, 12.5, 12.5), strict=True):
    for share in Counter(int(name[1:]) % 4 for name in dealt[split]).values():
      assert abs(share - wanted) <= 1
  assert counts(assign(clips(64, 8))) == [58, 3, 3]  # 8 clips an episode: 5 % of one is less than half a clip


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(1, 6), st.integers(1, 5), st.integers(0, 3))
def test_every_clip_is_in_one_split_and_recordings_stay_whole(count, episodes, per_source, seed):
  entries = clips(count, episodes, per_source)
  dealt = assign(entries, seed)
  assert sorted(sum(dealt.values(), [])) == [entry.name for entry in entries]
  place = {name: split for split in SPLITS for name in dealt[split]}
  source = {entry.source: place[entry.name] for entry in entries}
  assert all(place[entry.name] == source[entry.source] for entry in entries)
  episode = {entry.name: entry.episode for entry in entries}
  if len(set(source)) > 2 * episodes + 2:
    assert {episode[name] for name in dealt["train"]} == set(episode.values())
  assert dealt == assign(entries[::-1], seed)


def test_the_seed_draws_other_clips():
  assert assign(clips(100), 0)["test"] != assign(clips(100), 1)["test"]


def test_held_out_episodes_go_to_test_whole():
  dealt = assign(clips(80, 4), holdout=["e2"])
  held = {entry.name for entry in clips(80, 4) if entry.episode == "e2"}
  assert held <= set(dealt["test"]) and len(dealt["validation"]) == 3 and len(dealt["test"]) == 23
  with pytest.raises(InputError, match="'e9'.*e0, e1"):
    assign(clips(4, 2), holdout=["e9"])
  with pytest.raises(InputError, match="left to train on"):
    assign(clips(4, 1), holdout=["e0"])


def test_two_clips_of_one_name_are_refused():
  with pytest.raises(InputError, match="'c00000'"):
    assign([*clips(2), *clips(1)])
