"""Lists of recordings: bad lines are named, paths stay in their folder, and a dead address is an outcome."""

import json
import os

import pytest

from nwt_jax.errors import InputError
from nwt_jax.prepare.acquire import recordings
from tests.preparing import prepare


@pytest.mark.parametrize(
  "line, message",
  [
    ("../x.mp4", "lies outside"),
    ("/etc/passwd", "lies outside"),
    ("link.mp4", "lies outside"),
    ("ftp://example.org/x.mp4", "start with http"),
    ("file:///etc/passwd", "start with http"),
    ("a\tb.mp4", "control character"),
    ("{", "no JSON object"),
    ("[1]", "wanted an object"),
    ('{"name": "x"}', "`path` or `url`"),
    ('{"path": "a.mp4", "start": 3, "end": 2}', "before its start"),
    ('{"path": "a.mp4", "start": -1}', "wanted seconds"),
    ('{"path": "a.mp4", "end": "soon"}', "wanted seconds"),
    ('{"path": "a.mp4", "name": "../b"}', "cannot name"),
    ('{"path": "a\\u0000b.mp4"}', "control character"),
  ],
)
def test_fault_37_bad_lines_are_named(tmp_path, line, message):
  root = tmp_path / "root"
  root.mkdir()
  (tmp_path / "elsewhere.mp4").write_text("x")
  os.symlink(tmp_path / "elsewhere.mp4", root / "link.mp4")
  path = root / ("list.jsonl" if line[0] in "{[" else "list.txt")
  path.write_text(('{"path": "good.mp4"}\n' if line[0] in "{[" else "good.mp4\n") + line + "\n")
  with pytest.raises(InputError, match=f"line 2: .*{message}"):
    recordings.read_list(path)


def test_fault_37_lists_are_read(tmp_path):
  (tmp_path / "l.txt").write_bytes(b"# all of them\r\na.mp4\r\nsub/b.mp4\r\n\r\nhttps://example.org/watch?v=abc\r\n")
  found = recordings.read_list(tmp_path / "l.txt")
  assert [r.name for r in found[:2]] == ["a", "sub/b"] and found[2].remote and found[2].name.startswith("abc-")
  assert found[1].where == str(tmp_path / "sub" / "b.mp4")
  (tmp_path / "l.jsonl").write_text(
    '{"path": "a.mp4", "name": "x", "start": 1, "end": 2.5, "episode": "e", "source": "s"}\n'
  )
  assert recordings.find(str(tmp_path / "l.jsonl")) == [
    recordings.Recording("x", str(tmp_path / "a.mp4"), 1.0, 1.5, "e", "s")
  ]
  (tmp_path / "l.txt").write_text("a.mp4\na.mp4\n")
  with pytest.raises(InputError, match="line 2: the name 'a' stands in line 1"):
    recordings.read_list(tmp_path / "l.txt")
  (tmp_path / "l.txt").write_text(f"{tmp_path.name}/a.mp4\n{tmp_path}/b.mp4\n")
  assert [r.name for r in recordings.read_list(tmp_path / "l.txt", tmp_path.parent)] == [
    f"{tmp_path.name}/a", f"{tmp_path.name}/b",
  ]  # fmt: skip
  (tmp_path / "l.txt").write_text("# nothing\n")
  with pytest.raises(InputError, match="lists no recordings"):
    recordings.read_list(tmp_path / "l.txt")


def test_addresses_need_the_downloader(tmp_path, monkeypatch):
  (tmp_path / "l.txt").write_text("https://example.org/a.mp4\n")
  found = recordings.read_list(tmp_path / "l.txt")
  monkeypatch.setattr(recordings.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(InputError, match="pip install yt-dlp"):
    recordings.acquire(found, tmp_path / "d")


def test_a_dead_address_is_an_outcome(good, tmp_path, monkeypatch):
  (tmp_path / "l.txt").write_text("https://example.org/dead.mp4\nhttps://example.org/alive.mp4\n")
  fake = tmp_path / "yt_dlp.py"  # in the downloader's place: fails for one address, brings a file for the other
  fake.write_text(
    "import shutil, sys\n"
    "assert sys.argv[-2] == '--'\n"
    "sys.exit('ERROR: HTTP Error 404') if 'dead' in sys.argv[-1] else None\n"
    f"shutil.copy({str(good)!r}, 'video.mp4')\n"
  )
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setenv("PYTHONPATH", str(tmp_path))
  found = recordings.read_list(tmp_path / "l.txt")
  paths, failed = recordings.acquire(found, tmp_path / "d", lambda text: None)
  dead, alive = (r.name for r in found)
  assert list(failed) == [dead] and "404" in failed[dead] and list(paths) == [alive]
  works = fake.read_text()
  fake.write_text("raise SystemExit('not a second time')")
  assert recordings.acquire(found[1:], tmp_path / "d", lambda text: None)[0] == paths
  fake.write_text(works)
  made = prepare(tmp_path / "out", input=str(tmp_path / "l.txt"), height=16, width=16)
  rows = {row["name"]: row for row in map(json.loads, (tmp_path / "out" / "manifest.jsonl").read_text().splitlines())}
  assert (
    not rows[dead]["kept"]
    and rows[dead]["url"].endswith("dead.mp4")
    and "could not be downloaded" in rows[dead]["reason"]
  )
  assert rows[alive]["kept"] and made["splits"]["train"] == 1
  assert os.listdir(tmp_path / "out.work") == ["downloads"]
