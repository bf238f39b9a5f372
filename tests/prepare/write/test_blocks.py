"""Recordings dealt in blocks: contiguous, apart, 90 / 5 / 5 of the time, and only where it helps."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwt_jax.io import video
from nwt_jax.prepare.write import blocks
from nwt_jax.prepare.write.splits import BLOCKS, RECORDINGS, SPLITS, Entry, assign


def recording(count, seconds=4.0, source="s", episode="e", file=None):
  name = lambda n: f"{source}_{n:05d}"
  return [Entry(name(n), episode, source, n * seconds, seconds, file or source) for n in range(count)]


def place(entries, dealt):
  """The split of each clip in time, one letter each; a dot for those in none."""
  split = {name: kind for kind in SPLITS for name in dealt[kind]}
  return "".join(split.get(e.name, ".")[0] if split.get(e.name) != "test" else "T" for e in entries)


def check_apart(entries, dealt, gap):
  split = {name: kind for kind in SPLITS for name in dealt[kind]}
  placed = [(e.start, e.start + e.seconds, split[e.name], e.source) for e in entries if e.name in split]
  for start, end, kind, source in placed:
    for other_start, other_end, other, other_source in placed:
      if source == other_source and kind != other:
        assert max(start - other_end, other_start - end) >= gap - 1e-6


@pytest.mark.parametrize("deal", ["", BLOCKS])
@pytest.mark.parametrize("seed", range(5))
def test_an_hour_is_dealt_in_blocks_with_gaps(deal, seed):
  entries = recording(900)
  dealt = assign(entries, seed, deal=deal)
  assert [len(dealt[split]) for split in SPLITS[1:]] == [45, 45]  # 5 % of the time each
  assert len(dealt["train"]) >= 900 - 2 * 45 - 4 * 3
  check_apart(entries, dealt, blocks.GAP_SECONDS)
  text = place(entries, dealt)
  assert text.strip("t").count("v" * 45) == 1 and text.count("T" * 45) == 1  # each block in one piece
  assert text.replace("...", "|").count("|") == 4 - sum(text[side] != "t" for side in (0, -1))
  assert dealt == assign(entries[::-1], seed, deal=deal)


def test_the_seed_moves_the_blocks_and_recordings_stay_whole_when_asked_to():
  entries = recording(300)
  assert len({place(entries, assign(entries, seed)) for seed in range(5)}) == 5
  assert place(entries, assign(entries, deal=RECORDINGS)) == "t" * 300


def test_what_is_too_short_trains_whole():
  for count in (1, 2, 3, 4):
    entries = recording(count)
    assert place(entries, assign(entries)) == "t" * count
  short = place(recording(12), assign(recording(12)))
  assert short.count("v") == 1 and short.count("t") >= 6


def test_parts_of_unequal_length_and_with_holes_and_overlaps():
  parts = [Entry(f"p{n:03d}", "e", "s", 7.0 * n + n % 3, 2.0 + n % 5, "f") for n in range(200)]
  dealt = assign(parts)
  time = {split: sum(p.seconds for p in parts if p.name in dealt[split]) for split in SPLITS}
  total = sum(p.seconds for p in parts)
  assert time["validation"] / total == pytest.approx(0.05, abs=0.01)
  assert time["test"] / total == pytest.approx(0.05, abs=0.01)
  check_apart(parts, dealt, blocks.GAP_SECONDS)
  overlapping = [Entry(f"p{n:03d}", "e", "s", 2.0 * n, 4.0, "f") for n in range(300)]
  check_apart(overlapping, assign(overlapping), blocks.GAP_SECONDS)


def test_a_recording_an_episode_each_is_dealt_in_blocks_but_more_are_dealt_whole():
  alone = [e for n in range(4) for e in recording(100, source=f"s{n}", episode=f"e{n}")]
  dealt = assign(alone)
  for n in range(4):
    own = [e for e in alone if e.episode == f"e{n}"]
    text = place(own, dealt)
    assert text.count("v") == 5 and text.count("T") == 5 and text.count("t") >= 78
  two = [e for n in range(2) for e in recording(100, source=f"s{n}")]
  assert sorted(set(place(two, assign(two)))) == ["t", "v"] and "." not in place(two, assign(two))
  text = place(two, assign(two, deal=BLOCKS))
  assert text.count("v") == 10 and text.count("T") == 10


def test_what_several_files_say_together_is_not_cut():
  """The same recording under two names: its times in one file say nothing of the other."""
  twice = [*recording(50, file="a"), *[Entry(f"again{n}", "e", "s", 4.0 * n, 4.0, "b") for n in range(50)]]
  assert len(assign(twice)["train"]) == 100
  unknown = [Entry(f"c{n}", "e", "s") for n in range(50)]  # no times
  assert len(assign(unknown, deal=BLOCKS)["train"]) == 50


def test_short_recordings_add_up_and_single_clips_are_dealt_whole():
  many = [e for n in range(40) for e in recording(12, source=f"s{n:02d}")]
  dealt = assign(many, deal=BLOCKS)
  assert len(dealt["validation"]) / len(many) == pytest.approx(0.05, abs=0.015)
  assert len(dealt["train"]) / len(many) >= 0.6
  single = [Entry(f"c{n:03d}", "e", f"clip {n}", 0.0, 4.0, f"f{n}") for n in range(100)]
  assert [len(assign(single, deal=BLOCKS)[split]) for split in SPLITS] == [90, 5, 5]
  assert assign(single, deal=BLOCKS) == assign(single)


def test_held_out_episodes_of_one_recording_go_to_test_with_a_gap():
  entries = [*recording(200, episode="a"), *[Entry(f"z{n}", "b", "s", 800 + 4.0 * n, 4.0, "s") for n in range(20)]]
  dealt = assign(entries, holdout=["b"])
  assert {f"z{n}" for n in range(20)} <= set(dealt["test"]) and len(dealt["validation"]) >= 8
  check_apart(entries, dealt, blocks.GAP_SECONDS)


def test_the_only_clip_of_an_episode_trains_wherever_the_blocks_would_fall():
  entries = recording(60)
  entries[25] = Entry("only", "other", "s", 100.0, 4.0, "s")
  for seed in range(100):
    dealt = assign(entries, seed)
    assert "only" in dealt["train"] and dealt["validation"] and dealt["test"], seed


@settings(max_examples=150, deadline=None)
@given(
  st.lists(st.tuples(st.floats(0.5, 9.0), st.floats(0.0, 5.0), st.integers(0, 2)), min_size=1, max_size=60),
  st.integers(0, 3),
  st.sampled_from(["", BLOCKS]),
)
def test_blocks_never_take_an_episodes_last_clip(parts, seed, deal):
  entries, now = [], 0.0
  for number, (seconds, hole, episode) in enumerate(parts):
    now += hole
    entries.append(Entry(f"c{number:03d}", f"e{episode}", "s", now, seconds, "f"))
    now += seconds
  dealt = assign(entries, seed, deal=deal)
  names = sum(dealt.values(), [])
  assert len(names) == len(set(names)) and set(names) <= {e.name for e in entries}
  assert {e.episode for e in entries if e.name in dealt["train"]} == {e.episode for e in entries}
  span = entries[-1].start + entries[-1].seconds - entries[0].start
  check_apart(entries, dealt, min(blocks.GAP_SECONDS, 0.05 * span))
  kept = sum(e.seconds for e in entries if e.name in dealt["train"])
  assert kept >= blocks.LEAST_TRAINED * sum(e.seconds for e in entries) - 1e-6
  assert dealt == assign(entries[::-1], seed, deal=deal)


@pytest.mark.parametrize("name, near, far", [("cnn_anchor_0-57s", 0.16, 0.86), ("lieu_0-50s", 0.38, 0.84)])
def test_pictures_a_gap_apart_are_as_good_as_strangers(name, near, far):
  """The numbers of blocks.GAP_SECONDS: mean difference of pictures, over that of pictures 15 s and more apart."""
  root = os.environ.get("NWT_DATA")
  if not root:
    pytest.skip("set NWT_DATA to a folder that holds natural/ to measure the gap")
  frames = video.read_video(f"{root}/natural/{name}.mp4", 30, 64, 56)[::6].astype(np.float32)
  apart = lambda steps: float(np.abs(frames[steps:] - frames[:-steps]).mean())
  strangers = np.mean([apart(steps) for steps in range(int(len(frames) * 0.3), int(len(frames) * 0.6))])
  assert apart(1) / strangers == pytest.approx(near, abs=0.01)
  assert apart(int(5 * blocks.GAP_SECONDS)) / strangers == pytest.approx(far, abs=0.01)
