"""What results of earlier calls are filed under in OUTPUT.work: it may not change, or hours of work are done again."""

import dataclasses

import pytest

from nwt_jax.prepare.clip import ClipRecord
from nwt_jax.prepare.examine import examination, offsets
from nwt_jax.prepare.options import ExamineOptions

CLIP = ClipRecord("a", "monday", "clip a", path="/in/a.mp4", start=0.25, length=1.5, crop="8x8+0+4")
FILED = "FileClip(name='a', path='/in/a.mp4', start=0.25, length=1.5, crop='8x8+0+4')"


def test_a_clip_is_filed_under_what_is_read_and_nothing_else():
  found = {"fault": "damaged", "flags": ["cut"], "heads": [[[0.5, 0.5, 0.1]]], "sync": {"offset": 1}, "kept": False}
  assert CLIP.key == dataclasses.replace(CLIP, episode="x", source="y", segment=True, **found).key == FILED
  talker = ClipRecord("talker_3_00000", "harbour", "clip talker_3_00000", talker=(3, 0))
  assert talker.key == "TalkerClip(name='talker_3_00000', seed=3, index=0, episode='harbour')"


def test_an_examination_and_an_offset_are_filed_as_by_earlier_versions():
  key = examination._key(dataclasses.replace(CLIP, segment=True), ExamineOptions(True, False), "/work/a.jpg")
  assert key == "('/in/a.mp4', Look(trim=True, faces=False, piece=True), 0.25, 1.5, '/work/a.jpg')"
  assert offsets._key((CLIP,)) == f"({FILED},)" and offsets._key((CLIP, CLIP)) == f"({FILED}, {FILED})"


def test_records_do_not_change():
  with pytest.raises(dataclasses.FrozenInstanceError):
    CLIP.fault = "damaged"
  flagged = CLIP.with_flags("cut").with_flags("silent")
  assert flagged.flags == ["cut", "silent"] and CLIP.flags == ()
