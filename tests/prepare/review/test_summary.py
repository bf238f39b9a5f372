"""What a preparation says at its end: what splits lack, which episodes were lost, and commands that work."""

import json
import re

import pytest

from nwt_jax.data import sizes
from nwt_jax.data.clips import Clips
from nwt_jax.errors import InputError
from nwt_jax.prepare import __main__ as prepare
from nwt_jax.prepare import pipeline
from nwt_jax.prepare.review import manifest
from nwt_jax.prepare.write import records, shards, splits
from tests import media

TINY = {"height": 32, "width": 24, "faces": False, "workers": 1}


@pytest.fixture(scope="module")
def three(tmp_path_factory):
  """Three clips and a table that gives the first two an episode each, the third another."""
  root = tmp_path_factory.mktemp("three")
  for seed, name in enumerate("abc"):
    media.clip(root / f"{name}.mp4", seed, 1.0)
  (root / "own.csv").write_text("clip,episode\na,A\nb,B\nc,C\n")
  (root / "two.csv").write_text("clip,episode\na,A\nb,B\nc,B\n")
  return root


@pytest.fixture(scope="module")
def long(tmp_path_factory):
  """One recording of 24 seconds."""
  root = tmp_path_factory.mktemp("long")
  media.record(root / "long.mp4", media.pictures(1, 600, 36, 48), media.speech(1, 24.0))
  return root / "long.mp4"


def test_case_12_what_has_no_validation_or_test_is_named(three, tmp_path, capsys):
  made = prepare.prepare(tmp_path / "out", str(three), episodes=three / "own.csv", **TINY)
  assert made["splits"] == {"train": 3, "validation": 0, "test": 0} and made["episodes"] == ["A", "B", "C"]
  said = capsys.readouterr().out
  assert "without a validation clip: 3 of 3 (A, B, C)" in said and "without a test clip: 3 of 3 (A, B, C)" in said
  assert splits.MORE in said and "--deal=blocks" in splits.MORE and "--split_seconds=4" in splits.MORE


def test_episodes_that_lost_all_clips_are_named(three, tmp_path, capsys):
  (tmp_path / "d.json").write_text('{"a": {"keep": false}}')
  given = {"episodes": three / "own.csv", "decisions": tmp_path / "d.json"}
  prepare.prepare(tmp_path / "out", str(three), **given, **TINY)
  assert "episodes that lost all of their clips: 1 (A)" in capsys.readouterr().out


def test_an_episode_that_loses_its_training_clip_when_read_is_dealt_again(three, tmp_path, monkeypatch, capsys):
  whole = prepare.prepare(tmp_path / "whole", str(three), episodes=three / "two.csv", **TINY)
  assert whole["splits"] == {"train": 2, "validation": 1, "test": 0}
  rows = {row["name"]: row for row in manifest.read(tmp_path / "whole" / manifest.NAME)}
  (trained,) = (name for name in "bc" if rows[name]["split"] == "train")
  make = records.make_record

  def fail(clip, *rest):
    if clip.name == trained:
      raise InputError(f"{clip.name} changes its picture size half way")
    return make(clip, *rest)

  monkeypatch.setattr(records, "make_record", fail)
  made = prepare.prepare(tmp_path / "out", str(three), episodes=three / "two.csv", **TINY)
  assert made["splits"] == {"train": 2, "validation": 0, "test": 0} and made["episodes"] == ["A", "B"]
  clips = Clips(tmp_path / "out", "train")
  assert {clips.index[i]["name"]: clips.episode_name(clips[i]["episode"]) for i in range(2)} == {
    "a": "A",
    "cb"[trained == "c"]: "B",
  }
  (row,) = (row for row in manifest.read(tmp_path / "out" / manifest.NAME) if not row["kept"])
  assert (row["name"], row["decided_by"], row["split"]) == (trained, "reading", None)
  assert "no clip is left to train B on" in capsys.readouterr().err


def test_an_episode_none_of_whose_clips_can_be_read_is_lost_and_named(three, tmp_path, monkeypatch, capsys):
  make = records.make_record
  monkeypatch.setattr(
    records, "make_record", lambda clip, *rest: make(clip, *rest) if clip.name != "a" else _refuse(clip)
  )
  made = prepare.prepare(tmp_path / "out", str(three), episodes=three / "two.csv", **TINY)
  assert made["episodes"] == ["B"] and made["holdout_episodes"] == [] and list(made["skipped"]) == ["a"]
  assert "episodes that lost all of their clips: 1 (A)" in capsys.readouterr().out
  monkeypatch.setattr(
    records, "make_record", lambda clip, *rest: make(clip, *rest) if clip.name == "c" else _refuse(clip)
  )
  given = {"episodes": three / "own.csv", "holdout": ["A"]}  # neither what is held out nor B gives a record
  made = prepare.prepare(tmp_path / "held", str(three), **given, **TINY)
  assert made["episodes"] == ["C"] and made["holdout_episodes"] == [] and sorted(made["skipped"]) == ["a", "b"]
  monkeypatch.setattr(records, "make_record", lambda clip, *_: _refuse(clip))
  with pytest.raises(InputError, match="no clip is kept"):
    prepare.prepare(tmp_path / "none", str(three), episodes=three / "two.csv", **TINY)


def _refuse(clip):
  raise InputError(f"{clip.name} cannot be read")


def test_one_long_recording_has_validation_and_test_by_itself(long, tmp_path, capsys):
  made = prepare.prepare(tmp_path / "out", str(long), split_seconds=0.9, **TINY)
  assert all(made["splits"].values()) and made["splits"]["train"] >= 12
  rows = manifest.read(tmp_path / "out" / manifest.NAME)
  between = [row for row in rows if not row["kept"]]
  assert between and {row["decided_by"] for row in between} == {manifest.BETWEEN_BLOCKS}
  assert {row["reason"] for row in between} == {shards.BETWEEN} == set(made["skipped"].values())
  for one in rows:
    for other in rows:
      if one["split"] and other["split"] and one["split"] != other["split"]:
        assert max(one["start"] - other["end"], other["start"] - one["end"]) > 1.1  # 5 % of the recording
  said = capsys.readouterr().out
  assert re.search(rf"between +{len(between)} clips", said) and "without" not in said


def test_a_list_of_parts_is_dealt_in_blocks_as_well(long, tmp_path):
  parts = [{"path": long.name, "name": f"p{n:02d}", "start": 1.0 * n, "end": n + 0.8} for n in range(24)]
  (long.parent / "l.jsonl").write_text("".join(json.dumps(part) + "\n" for part in parts))
  made = prepare.prepare(tmp_path / "out", str(long.parent / "l.jsonl"), **TINY)
  assert all(made["splits"].values()) and made["splits"]["train"] >= 12


def test_the_papers_way_can_be_dealt_in_blocks(long, tmp_path):
  """Where each recording is an episode, its clips go to all splits one by one, unless blocks are asked for."""
  given = {"split_seconds": 0.9, "episodes": "recordings", **TINY}
  made = prepare.prepare(tmp_path / "blocks", str(long), deal="blocks", **given)
  assert made["skipped"] and all(made["splits"].values())
  wanted = pipeline.Wanted(str(long), None, "recordings", 0.9)
  pieces, _ = pipeline.gather(wanted, *pipeline.listed(wanted), tmp_path / "work", 1, print)
  assert len({piece.source for piece in pieces}) == len(pieces) > 20


def test_the_talker_is_dealt_by_clips(refused, tmp_path):
  assert "--deal" in refused("prepare", "--talker=3", "--deal=blocks", f"--output={tmp_path / 'o'}")
  output = tmp_path / "o"
  assert "--deal" in refused("prepare", f"--input={tmp_path}", "--deal=random", f"--output={output}")


@pytest.mark.parametrize(
  "size, config, later",
  [
    ((256, 224), "configs/dvae_lwt.py ", ""),
    ((64, 56), "configs/dvae_lwt.py:demo ", ""),
    ((32, 24), "configs/dvae_lwt.py:tiny ", ""),
    ((64, 64), "configs/dvae_lwt.py:demo ", "for mar.py:demo or far.py:demo: --config.model.grid='(8,8)'"),
    ((128, 112), "configs/dvae_lwt.py ", "for mar.py or far.py: --config.model.grid='(8,7)'"),
  ],
)
def test_the_next_command_names_the_config_that_fits(size, config, later):
  first, *rest = sizes.next_steps("data/mine", *size)
  assert f"--config={config}--config.data.path=data/mine --workdir=DIR" in first
  assert later in "".join(rest) and bool(rest) == bool(later)


@pytest.mark.parametrize("size", [(100, 90), (512, 448), (288, 224)])
def test_sizes_that_nothing_fits_are_said(size):
  (line,) = sizes.next_steps("data/mine", *size)
  assert f"no config is for frames of {size[0]} x {size[1]}" in line and "--height=64 --width=56 (:demo)" in line
