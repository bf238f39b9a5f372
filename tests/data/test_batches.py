"""Batches: a pure function of the step, the same rows however many processes share them."""

import itertools
import json
import os
import shutil

import numpy as np
import pytest

from nwt_jax.data.batches import long_enough, token_batches, video_batches
from nwt_jax.data.clips import Clips
from nwt_jax.data.tokens import Tokens
from nwt_jax.errors import InputError


def take(batches, count):
  return list(itertools.islice(batches, count))


def equal(one, two):
  return one.keys() == two.keys() and all(np.array_equal(one[key], two[key]) for key in one)


def test_shapes_and_types(dataset, token_set):
  batch = next(video_batches(dataset, "train", 4, 8, seed=0))
  assert {key: (value.shape, str(value.dtype)) for key, value in batch.items()} == {
    "video": ((4, 8, 32, 24, 3), "uint8"),
    "mel": ((4, 32, 80), "float32"),
    "episode": ((4,), "int32"),
  }
  batch = next(token_batches(token_set, "train", 2, 5, seed=0))
  assert {key: (value.shape, str(value.dtype)) for key, value in batch.items()} == {
    "codes": ((2, 5, 4, 3, 2), "uint8"),
    "mel": ((2, 20, 80), "float32"),
    "valid": ((2, 5), "float32"),
    "episode": ((2,), "int32"),
  }


def test_starting_at_a_step_is_iterating_to_it(dataset, token_set):
  for batches, path in ((video_batches, dataset), (token_batches, token_set)):
    long = take(batches(path, "train", 4, 8, seed=3), 9)
    late = take(batches(path, "train", 4, 8, seed=3, start_step=7, num_threads=0), 2)
    assert equal(long[7], late[0]) and equal(long[8], late[1])
    assert not equal(long[0], long[1])
    assert not equal(long[0], next(batches(path, "train", 4, 8, seed=4)))


def test_rows_of_all_processes_are_the_batch(dataset):
  whole = take(video_batches(dataset, "train", 4, 8, seed=1), 3)
  for count in (2, 4):
    parts = [take(video_batches(dataset, "train", 4, 8, 1, 0, index, count), 3) for index in range(count)]
    for step, batch in enumerate(whole):
      assert equal(batch, {key: np.concatenate([part[step][key] for part in parts]) for key in batch})


def test_windows_are_true_to_their_clips_and_start_anywhere(token_set):
  records = Tokens(token_set, "train")
  clips = [records[i] for i in range(len(records))]
  starts = set()
  for batch in take(token_batches(token_set, "train", 5, 10, seed=0), 40):
    for codes, mel, episode in zip(batch["codes"], batch["mel"], batch["episode"], strict=True):
      start, clip = divmod(int(mel[0, 0]), 320)  # the mel counts upwards: 4 rows of 80 a frame, plus the clip's number
      starts.add((clip, start))
      np.testing.assert_array_equal(codes, clips[clip]["codes"][start : start + 10])
      np.testing.assert_array_equal(mel, clips[clip]["mel"][4 * start : 4 * (start + 10)])
      assert episode == clip % 2
  assert starts == {(clip, start) for clip in range(5) for start in range(3 + clip)}  # 12 + clip frames each


def test_margins_are_the_mel_around_a_window_and_change_nothing_else(token_set):
  plain, wide = (take(token_batches(token_set, "train", 5, 10, seed=0, around=a), 8) for a in ((0, 0), (4, 3)))
  seen = set()
  for narrow, batch in zip(plain, wide, strict=True):
    assert batch["mel"].shape == (5, 68, 80) and batch["valid"].shape == (5, 17) and narrow["valid"].all()
    assert all(np.array_equal(narrow[name], batch[name]) for name in ("codes", "episode"))
    np.testing.assert_array_equal(batch["mel"][:, 16:-12], narrow["mel"])
    for mel, valid in zip(batch["mel"], batch["valid"], strict=True):
      inside = np.repeat(valid, 4) > 0
      assert not mel[~inside].any() and (np.diff(mel[inside, 0]) == 80).all()  # the mel counts upwards
      start, clip = divmod(int(mel[16, 0]), 320)
      assert list(valid) == [0 <= frame < 12 + clip for frame in range(start - 4, start + 13)]
      seen.add((valid[0], valid[-1]))
  assert len(seen) > 2


def test_every_epoch_has_every_clip_in_another_order(token_set):
  batches = take(token_batches(token_set, "train", 5, 10, seed=0), 6)
  orders = [tuple(int(mel[0, 0]) % 320 for mel in batch["mel"]) for batch in batches]
  assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders) and len(set(orders)) > 1


def test_short_clips_are_left_out_with_a_notice(dataset, caplog):
  clips = Clips(dataset, "train")
  lengths = sorted(row["frames"] for row in clips.index)
  fit = long_enough(clips, lengths[0] + 1)
  assert len(fit) == len(clips) - 1 and "1 of 4 train clips are shorter" in caplog.text and len(caplog.records) == 1
  next(video_batches(dataset, "train", 2, lengths[0] + 1, seed=0))
  with pytest.raises(InputError, match=f"has {lengths[-1]} frames, wanted windows of 99"):
    video_batches(dataset, "train", 2, 99, seed=0)


def test_bad_requests_are_refused(dataset, tmp_path):
  with pytest.raises(InputError, match="3 does not divide among 2"):
    video_batches(dataset, "train", 3, 8, 0, process_count=2)
  with pytest.raises(InputError, match="nwt_jax.prepare"):
    video_batches(tmp_path, "train", 2, 8, 0)
  with pytest.raises(InputError, match="wanted tokens.*tokenize"):
    token_batches(dataset, "train", 2, 8, 0)


def test_an_empty_split_is_refused(token_set):
  assert len(Tokens(token_set, "validation")) == 0
  with pytest.raises(InputError, match="no tokens for validation"):
    token_batches(token_set, "validation", 2, 8, 0)


def test_fault_42_damaged_shards_are_named(dataset, tmp_path):
  shutil.copytree(dataset, tmp_path / "d")
  (shard,) = (tmp_path / "d" / "clips" / "1.0.0").glob("*train*")
  data = bytearray(shard.read_bytes())
  data[len(data) // 3] ^= 1
  shard.write_bytes(data)
  clips = Clips(tmp_path / "d", "train")
  with pytest.raises(InputError, match="train record . .* is damaged"):
    [clips[i] for i in range(len(clips))]
  shard.write_bytes(data[:-100])
  with pytest.raises(InputError, match=f"{shard.name} has {len(data) - 100} bytes, wanted {len(data)}"):
    Clips(tmp_path / "d", "train")
  shard.unlink()
  with pytest.raises(InputError, match=f"{shard.name} is missing"):
    Clips(tmp_path / "d", "test")  # whichever split is asked for


def test_fault_45_a_clip_in_two_splits_is_refused(dataset, tmp_path):
  shutil.copytree(dataset, tmp_path / "d")
  index = json.loads((dataset / "index.json").read_text())
  index["test"].append(index["train"][0])
  (tmp_path / "d" / "index.json").write_text(json.dumps(index))
  with pytest.raises(InputError, match="is in test and in train"):
    Clips(tmp_path / "d", "train")


def test_index_and_shards_agree(dataset):
  clips = Clips(dataset, "train")
  rows = json.loads((dataset / "index.json").read_text())["train"]
  assert [clips[i]["name"] for i in range(len(clips))] == [row["name"] for row in rows]
  assert [len(clips[i]["video"]) for i in range(len(clips))] == [row["frames"] for row in rows]
  assert os.listdir(dataset / "clips") == ["1.0.0"]
