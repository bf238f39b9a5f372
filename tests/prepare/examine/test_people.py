"""Several people who count as one episode: told, grouped in a table that --episodes takes, and never decided."""

import base64
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nwt_jax.metrics import face
from nwt_jax.prepare.acquire import episodes
from nwt_jax.prepare.acquire.recordings import Recording
from nwt_jax.prepare.clip import ClipRecord
from nwt_jax.prepare.examine import people
from tests.preparing import prepare


def _row(name, shape, episode="default", flags=(), fault="", recording=""):
  text = base64.b64encode(np.asarray(shape, np.float16).tobytes()).decode()
  recording = recording or name
  return ClipRecord(name, episode, recording, recording, flags=list(flags), fault=fault, shape=text)


def _people(seed, count, apart, near):
  """So many people's shapes, `apart` from one another; a function that draws a clip of one, `near` to the person's."""
  random = np.random.default_rng(seed)
  common = random.normal(size=(52, 3))
  common /= np.linalg.norm(common)
  off = lambda scale: scale / np.sqrt(156) * random.normal(size=(52, 3))
  persons = [common + off(apart) for _ in range(count)]

  def draw(person):
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    return (persons[person] + off(near)) @ turn * random.uniform(0.5, 2) + random.normal(size=3)

  return draw


def test_two_people_are_told_apart_however_they_are_turned():
  draw = _people(0, 2, 0.05, 0.01)
  rows = [_row(f"c{n}", draw(n % 3 == 0)) for n in range(9)]
  found = people.group(rows)
  assert found == {f"c{n}": "person_2" if n % 3 == 0 else "person_1" for n in range(9)}
  assert people.line(found, "x/people.csv").startswith(
    "faces look like 2 people (6, 3 recordings), and all are one episode"
  )
  assert people.group(rows[1:3]) == {}  # one of them alone
  assert people.group([replace(row, episode="monday") for row in rows]) == {}  # somebody has said what they are


def test_pieces_of_a_recording_are_taken_together_and_who_has_no_face_is_said():
  draw = _people(1, 2, 0.05, 0.02)
  rows = [_row(f"{name}_{n}", draw(name == "b"), recording=name) for name in "abc" for n in range(4)]
  rows += [_row("d_0", draw(0), flags=["no_face"], recording="d"), _row("e_0", draw(1), fault="damaged", recording="e")]
  found = people.group(rows)
  assert found == {"a": "person_1", "b": "person_2", "c": "person_1", "d": people.NOBODY, "e": people.NOBODY}


def test_many_recordings_join_the_nearest(monkeypatch):
  draw = _people(2, 3, 0.06, 0.01)
  rows = [_row(f"c{n:03}", draw(n % 3)) for n in range(90)]
  monkeypatch.setattr(people, "_COMPARED", 20)
  found = people.group(rows)
  assert [len({found[f"c{n:03}"] for n in range(place, 90, 3)}) for place in range(3)] == [1, 1, 1]
  assert len(set(found.values())) == 3


def test_the_table_is_one_that_episodes_takes_and_keeps_what_belongs_together(tmp_path):
  asked = [("a, 1", "default", "clip a, 1"), ("b", "default", "clip a, 1"), ("c", "monday", "take")]
  found = [Recording(name, f"/{name}.mp4", episode=episode, source=source) for name, episode, source in asked]
  people.write(tmp_path / people.NAME, {"a, 1": "person_1", "b": "person_2"}, found)
  read = episodes.read_episodes(tmp_path / people.NAME, ["a, 1", "b", "c"])
  assert read == {"a, 1": ("person_1", "clip a, 1"), "b": ("person_2", "clip a, 1"), "c": ("monday", "take")}


# With real people.


def _data(*names):
  root = os.environ.get("NWT_DATA")
  if not root or not face.available():
    pytest.skip("set NWT_DATA to a folder that holds natural/ and grid_s1/, and install the extra `faces`")
  return Path(root, *names)


def _folder(tmp_path, *paths):
  (tmp_path / "in").mkdir()
  for path in paths:
    (tmp_path / "in" / path.name).symlink_to(path)
  return str(tmp_path / "in")


def test_several_real_people_in_one_folder_are_hinted_at(tmp_path, capsys):
  clips = sorted(_data("grid_s1", "clips").glob("lgas*.mp4"))[:3]
  folder = _folder(tmp_path, *clips, _data("natural", "latentsync_demo1.mp4"))
  options = {"input": folder, "height": 32, "width": 28, "workers": 1}
  prepare(tmp_path / "out", **options)
  table = tmp_path / "out" / people.NAME
  said = capsys.readouterr().out
  assert f"faces look like 2 people (3, 1 recordings), and all are one episode: correct {table}, and give it" in said
  assert "person_2" in (tmp_path / "out" / "report.html").read_text()
  made = prepare(tmp_path / "again", episodes=table, **options)
  assert made["episodes"] == ["person_1", "person_2"] and "faces look like" not in capsys.readouterr().out


@pytest.mark.slow
def test_rates_on_people_that_the_distance_was_not_chosen_on(tmp_path):
  """docs/preparation.md has these numbers: two people in parts of 3 s, each alone, and with others."""
  from nwt_jax.io import video
  from nwt_jax.prepare.examine import faces

  def shapes(path, seconds):
    found = []
    for start in np.arange(0.0, seconds - 3, 3.0):
      pictures = video.read_video(path, 8 / 3, start=float(start), length=3.0, max_height=480)
      found.append(faces.find(pictures)[1])
    return found

  session = [line.split(",")[0] for line in _data("grid_s1", "clips.csv").read_text().splitlines()[1::40]]
  seen = {
    "lieu": shapes(_data("natural", "lieu_0-50s.mp4"), 50.0),
    "latentsync": shapes(_data("natural", "latentsync_demo1.mp4"), 10.0),
    "anchor": shapes(_data("natural", "cnn_anchor_0-57s.mp4"), 57.0),
    "grid": [shapes(_data("grid_s1", "clips", f"{name}.mp4"), 3.1)[0] for name in session],
  }
  random = np.random.default_rng(0)

  def told(*chosen):
    drawn = [
      seen[who][i] for who in chosen for i in random.choice(len(seen[who]), random.integers(1, 4), replace=False)
    ]
    rows = [ClipRecord(str(n), "default", "", str(n), shape=s) for n, s in enumerate(drawn)]
    found = people.group(rows)
    return len(set(found.values())) if found else 1

  alone = {who: sum(told(who) > 1 for _ in range(50)) for who in ("lieu", "latentsync")}
  mixed = [
    told(new, *random.choice(["anchor", "grid"], random.integers(1, 3), False)) for _ in range(50) for new in alone
  ]
  print(f"alone, called several: {alone} of 50 each; mixed: {sum(n > 1 for n in mixed)} of {len(mixed)} told")
  assert sum(alone.values()) <= 2 and sum(n > 1 for n in mixed) >= 95
