"""Offsets of the sound: what is taken together, how much is looked at, and what is said; on real speakers, too."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from nwt_jax.metrics import face, sync
from nwt_jax.prepare import __main__ as prepare
from nwt_jax.prepare.engines.local import Local
from nwt_jax.prepare.examine import offsets
from nwt_jax.prepare.review import manifest
from nwt_jax.prepare.write import records
from tests import media

FACTS = {"fps": 25.0, "width": 224, "height": 256, "sample_rate": 44100}


def _row(name, length, recording=None, flags=(), fault="", folder="/in", **facts):
  row = {"name": name, "path": f"{folder}/{name}.mp4", "recording": recording or f"clip {name}", "episode": "default"}
  return row | {"fault": fault, "flags": list(flags), "start": 0.0, "length": length, "facts": FACTS | facts}


@pytest.fixture
def listen(tmp_path, monkeypatch):
  """Runs offsets.listen; `answer` says what is measured for the clips of a job. Keeps the jobs."""
  jobs = []

  def run(rows, answer):
    measure = lambda clips: jobs.append(clips) or [sum(clip.length for clip in clips), *answer(clips)]
    monkeypatch.setattr(offsets, "measure", measure)
    clips = {row["name"]: records.FileClip(row["name"], row["path"]) for row in rows}
    return offsets.listen(rows, clips, tmp_path, Local(1)), jobs

  return run


def test_short_recordings_of_one_camera_are_taken_together(listen):
  rows = [_row(f"a{n:02}", 3.0) for n in range(10)] + [_row(f"b{n:02}", 3.0, fps=50.0) for n in range(10)]
  rows += [_row("few", 3.0, folder="/else"), _row("mute", 3.0, flags=["silent"]), _row("long", 40.0)]
  rows.append(_row("lost", None, fault="damaged"))
  found = {"a": (0, 0.3, 0.6), "b": (9, 0.0, 0.6), "l": (6, 0.3, 0.6)}
  (told, line), jobs = listen(rows, lambda clips: found[clips[0].name[0]])
  assert [len({clip.name for clip in job}) for job in jobs] == [10, 10, 1]
  by_name = {row["name"]: row for row in rows}
  assert by_name["a03"]["sync"] == {
    "offset": 0, "confidence": 0.3, "correlation": 0.6, "seconds": 30.0, "recordings": 10, "why": ""
  }  # fmt: skip
  assert by_name["long"]["sync"]["offset"] == 6 and by_name["long"]["flags"] == ["sync"]
  assert by_name["b03"]["sync"]["offset"] is None and by_name["b03"]["flags"] == [] == by_name["a03"]["flags"]
  assert by_name["few"]["sync"]["why"] == "3 s in clips of 2 s and more, and 20 s are needed"
  assert by_name["mute"]["sync"] == offsets._unknown("silent") and "sync" not in by_name["lost"]
  assert line == (
    "sound against mouth: within 3 frames: 10, unknown (no offset does clearly better than others): 10, "
    "unknown (3 s in clips of 2 s and more, and 20 s are needed): 1, 6 frames late (flagged): 1, unknown (silent): 1"
  )
  assert len(told) == 4 and "offset +6 frames" in told["clip long"]


def test_what_is_looked_at_is_bounded_and_spread(listen):
  rows = [_row(f"c{n:03}", 3.0) for n in range(300)] + [_row(f"p{n:03}", 4.0, "take") for n in range(300)]
  rows.append(_row("hour", 3600.0))
  _, jobs = listen(rows, lambda clips: (0, 0.3, 0.6))
  seconds = {job[0].name[0]: sum(clip.length for clip in job) for job in jobs}
  assert seconds == {"c": offsets.POOLED, "p": pytest.approx(offsets.SECONDS, abs=4), "h": offsets.SECONDS}
  pooled, take, hour = ([job for job in jobs if job[0].name[0] == kind][0] for kind in "cph")
  steps = np.diff([int(clip.name[1:]) for clip in pooled])
  assert set(steps) == {20} and int(take[-1].name[1:]) > 250
  assert hour[0].start > 300 and hour[-1].start > 3200 and all(clip.length == 6.0 for clip in hour)


def test_a_recording_that_is_looked_at_whole_is_read_in_one(listen):
  _, (job,) = listen([_row("whole", 21.0)], lambda clips: (0, 0.3, 0.6))
  assert [(clip.start, clip.length) for clip in job] == [(0.0, pytest.approx(21.0))]


# With real speakers.


def _data(*names):
  root = os.environ.get("NWT_DATA")
  if not root or not face.available():
    pytest.skip("set NWT_DATA to a folder that holds natural/ and grid_s1/, and install the extra `faces`")
  return Path(root, *names)


def _session(letter, every=1):
  rows = [line.split(",") for line in _data("grid_s1", "clips.csv").read_text().splitlines()[1:]]
  return [_data("grid_s1", "clips", f"{row[0]}.mp4") for row in rows if row[1] == letter][::every]


def _shifted(path, target, frames):
  """The recording with its sound so many frames late; what comes before the sound is silent."""
  late = ["-itsoffset", f"{max(frames, 0) / 30:.4f}", "-i", path]
  early = ["-ss", f"{max(-frames, 0) / 30:.4f}"]
  sound = ["-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac", "-af", "aresample=async=1:first_pts=0"]
  return media.ffmpeg_to(target, "-i", path, *early, *late, *sound)


@pytest.mark.slow
@pytest.mark.parametrize("offset", [-12, -8, -6, 0, 6, 8, 12])
def test_clips_of_three_seconds_are_told_together(tmp_path, offset, capsys):
  """Twenty clips of GRID's second session."""
  (tmp_path / "in").mkdir()
  for path in _session("B")[:20]:
    _shifted(path, tmp_path / "in" / path.name, offset)
  prepare.prepare(tmp_path / "out", pattern=str(tmp_path / "in"), stop_after="examine", workers=1)
  rows = manifest.read(tmp_path / "out.work" / manifest.NAME)
  assert len(rows) == 20 and {row["sync"]["recordings"] for row in rows} == {20}
  assert abs(rows[0]["sync"]["offset"] - offset) <= 2
  assert all(("sync" in row["flags"]) == (offset != 0) for row in rows)
  said = capsys.readouterr().out
  assert ("sound against mouth: within 3 frames: 20" in said) == (offset == 0)


@pytest.mark.slow
@pytest.mark.parametrize("name, own", [("cnn_anchor_0-57s", 0), ("lieu_0-50s", 2)])
@pytest.mark.parametrize("offset", [-12, -8, -6, 0, 6, 8, 12])
def test_planted_offsets_are_found_in_twenty_seconds(tmp_path, name, own, offset):
  """Args: own: the offset of the recording as it is, frames."""
  path = _shifted(_data("natural", f"{name}.mp4"), tmp_path / "shifted.mp4", offset)
  seconds, *found = offsets.measure([records.FileClip(name, str(path), 2.0, 20.0)])
  found = sync.Sync(*found)
  assert abs(found.lag - own - offset) <= 2 and found.known and seconds == 20.0, found


RIGHT = {("clips of 3 s", 20): 90, ("clips of 3 s", 30): 95, ("one recording", 20): 65, ("one recording", 30): 90}


@pytest.mark.slow
def test_rates_on_recordings_that_the_thresholds_were_not_chosen_on():
  """docs/preparation.md has these numbers. Sound from elsewhere is the other recording's, at moments drawn."""
  grid = _heard([records.FileClip(path.stem, str(path), 0.0, 3.0) for path in _session("B")])
  ((mouth, mel),) = _heard([records.FileClip("lieu", str(_data("natural", "lieu_0-50s.mp4")), 0.0, 50.0)])
  random = np.random.default_rng(0)

  def draw(kind, seconds):
    if kind == "clips of 3 s":
      return [grid[i] for i in random.choice(len(grid), -(-seconds // 3), replace=False)]
    start = random.integers(len(mouth) - 10 * seconds)
    return [(mouth[start : start + 10 * seconds], mel[12 * start : 12 * (start + 10 * seconds)])]

  elsewhere = {"clips of 3 s": mel, "one recording": np.concatenate([mel for _, mel in grid])}
  for (kind, other), seconds in itertools.product(elsewhere.items(), (20, 30)):
    own = 0 if kind == "clips of 3 s" else 2  # the offset of the recording as it is
    right = wrong = answered = 0
    for _ in range(100):
      openings, mels = zip(*draw(kind, seconds), strict=True)
      found = sync.estimate(openings, mels)
      right += found.known and abs(found.lag - own) <= 2
      wrong += found.known and abs(found.lag - own) > 2
      starts = [random.integers(len(other) - len(mel)) for mel in mels]
      strange = [other[start : start + len(mel)] for start, mel in zip(starts, mels, strict=True)]
      answered += sync.estimate(openings, strange).known
    print(f"{kind}, {seconds} s: of 100, {right} right, {wrong} wrong; sound from elsewhere: {answered} answers")
    assert right >= RIGHT[kind, seconds] and wrong <= 1 and answered <= 4


def _heard(clips):
  """Openings and log-mels of each clip."""
  found = []

  def keep(openings, mels):
    found.extend(zip(openings, mels, strict=True))
    return sync.Sync(0, 0.0, 0.0)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(offsets.sync, "estimate", keep)
    offsets.measure(clips)
  return found
