"""What a folder and a glob stand for: the same files, whatever is hidden, linked, or spelled otherwise."""

import os
import shutil
import unicodedata

import pytest

from nwt_jax.api.episodes import Episodes
from nwt_jax.data import names
from nwt_jax.errors import InputError
from nwt_jax.prepare import __main__ as prepare
from nwt_jax.prepare.acquire import listing, recordings
from nwt_jax.prepare.review import manifest
from nwt_jax.prepare.write import records
from nwt_jax.prepare.write.splits import Entry
from tests import media

APART, TOGETHER = (unicodedata.normalize(form, "José Müller") for form in ("NFD", "NFC"))


def tree(root, *paths):
  for path in paths:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text("x")
  return root


def both(root, pattern="**/*.mp4"):
  """What the folder and the glob stand for, relative to the folder, and what is said of the rest."""
  found = [listing.videos(str(root)), listing.videos(f"{root}/{pattern}")]
  (folder, said), (glob, again) = (([os.path.relpath(path, root) for path in paths], line) for paths, line in found)
  assert folder == glob and said == again
  return folder, said


def test_what_is_hidden_is_left_out_and_counted(tmp_path):
  tree(tmp_path, "clip.mp4", "._clip.mp4", "a/._b.MP4", "a/b.MP4", "__MACOSX/a/b.mp4", ".cache/c.mp4", "a/.DS_Store")
  found, said = both(tmp_path)
  assert found == ["a/b.MP4", "clip.mp4"]
  assert "hidden files: 2 ('._clip.mp4', ...)" in said and "hidden folders: 2" in said
  assert both(tree(tmp_path / "clean", "x.mp4")) == (["x.mp4"], "")


def test_a_pattern_that_names_hidden_files_takes_them(tmp_path):
  tree(tmp_path, ".one.mp4", "two.mp4", ".in/three.mp4", "__MACOSX/four.mp4")
  named = lambda pattern: [path.name for path in listing.videos(f"{tmp_path}/{pattern}")[0]]
  assert named(".*.mp4") == [".one.mp4"] and named(".in/*") == ["three.mp4"]
  assert named(".[a-z]*/*.mp4") == ["three.mp4"] and named("__MACOSX") == ["four.mp4"]
  assert [found.name for found in recordings.find(str(tmp_path / ".one.mp4"))] == [".one"]


def test_links_are_followed_and_nothing_comes_twice(tmp_path):
  tree(tmp_path, "elsewhere/1.mp4", "elsewhere/sub/2.mp4", "root/z/3.mp4", "root/b.mp4")
  root = tmp_path / "root"
  (root / "speaker1").symlink_to("../elsewhere")  # a folder outside
  (root / "a.mp4").symlink_to("b.mp4")  # a file that is there by its own name
  (root / "alias").symlink_to("z")  # a folder that is there by its own name
  (root / "z" / "round").symlink_to("..")  # a ring
  (root / "z" / "itself").symlink_to(".")
  (root / "gone.mp4").symlink_to("nowhere.mp4")
  (root / "self.mp4").symlink_to("self.mp4")
  found, said = both(root)
  assert found == ["b.mp4", "speaker1/1.mp4", "speaker1/sub/2.mp4", "z/3.mp4"]
  assert "links that lead nowhere: 2 ('gone.mp4', ...)" in said
  assert f"second names of files: 1 ('{root}/a.mp4 is {root}/b.mp4')" in said


def test_many_links_in_a_ring_come_to_an_end(tmp_path):
  tree(tmp_path, "x.mp4")
  for n in range(12):  # 12 ** 40 ways round, for one who follows them all
    (tmp_path / f"ring{n}").symlink_to(".")
  assert both(tmp_path)[0] == ["x.mp4"]


def test_the_case_folder_is_read_through_its_link(tmp_path):
  media.clip(tmp_path / "clips" / "one.mp4", 1, 1.0)
  shutil.copy(tmp_path / "clips" / "one.mp4", tmp_path / "clips" / "._one.mp4")
  (tmp_path / "root").mkdir()
  (tmp_path / "root" / "speaker1").symlink_to(tmp_path / "clips")
  (tmp_path / "t.csv").write_text("clip,episode\none,me\n")
  for number, pattern in enumerate((tmp_path / "root", tmp_path / "root" / "**" / "*.mp4")):
    table = tmp_path / "t.csv"
    made = prepare.prepare(tmp_path / f"{number}", str(pattern), episodes=table, height=16, width=16, faces=False)
    assert made["splits"]["train"] == 1 and not made["skipped"] and made["episodes"] == ["me"]


def test_what_is_left_out_is_said_in_one_line(tmp_path, capsys):
  media.clip(tmp_path / "in" / "one.mp4", 1, 1.0)
  tree(tmp_path, "in/._one.mp4")
  prepare.prepare(tmp_path / "out", str(tmp_path / "in"), height=16, width=16, faces=False)
  said = [line for line in capsys.readouterr().err.splitlines() if "hidden" in line]
  assert said == [f"left out of {tmp_path / 'in'}: hidden files: 1 ('._one.mp4')"]
  os.remove(tmp_path / "in" / "one.mp4")
  with pytest.raises(InputError, match=r"no video file matches .*hidden files: 1 \('._one.mp4'\)"):
    recordings.find(str(tmp_path / "in"))


def test_a_folder_that_cannot_be_read_is_said(tmp_path, monkeypatch):
  tree(tmp_path, "a.mp4", "closed/b.mp4", "open/c.mp4")
  whole = os.listdir

  def refuse(folder):  # tests may run as root, whom no folder refuses
    if str(folder).endswith("closed"):
      raise PermissionError(13, "Permission denied", str(folder))
    return whole(folder)

  monkeypatch.setattr(listing.os, "listdir", refuse)
  found, said = both(tmp_path)
  assert found == ["a.mp4", "open/c.mp4"] and "folders that cannot be read: 1" in said and "Permission denied" in said


def test_brackets_in_names_that_are_there_are_letters(tmp_path):
  tree(tmp_path, "[2021] talks/a b.mp4", "[2021] talks/new\nline.mp4", "2/c.mp4", "x/m[1].mp4", "x/m1.mp4")
  named = lambda pattern: [path.name for path in listing.videos(f"{tmp_path}/{pattern}")[0]]
  assert named("[2021] talks") == named("[2021] talks/*.mp4") == named("[[]2021] talks/*.mp4")
  assert named("[2021] talks") == ["a b.mp4", "new\nline.mp4"]
  assert named("[2021]/*.mp4") == ["c.mp4"] and named("[[]2021]*/a*") == ["a b.mp4"]
  assert named("[2021] t*/a b.mp4") == ["a b.mp4"] and named("x/m[1].mp4") == ["m[1].mp4"]
  found = recordings.find(f"{tmp_path}/[2021] talks/*.mp4")
  assert [one.name for one in found] == ["a b", "new\ufffdline"] and found[1].where.endswith("new\nline.mp4")


def test_globs_mean_what_they_meant(tmp_path, monkeypatch):
  tree(tmp_path, "a/1.mp4", "a/b/2.mp4", "3.mp4", "4.txt", "a/5.mkv", "x.mp4/6.mp4")
  named = lambda pattern: [path.name for path in listing.videos(pattern)[0]]
  assert named(f"{tmp_path}/*.mp4") == ["3.mp4"] and named(f"{tmp_path}/*/*.mp4") == ["1.mp4", "6.mp4"]
  assert named(f"{tmp_path}/**/2.mp4") == ["2.mp4"] and named(f"{tmp_path}/**/a/*.m??") == ["1.mp4", "5.mkv"]
  assert sorted(named(f"{tmp_path}/**")) == ["1.mp4", "2.mp4", "3.mp4", "5.mkv", "6.mp4"]
  assert named(f"{tmp_path}/a/**/b/**/*.mp4") == ["2.mp4"] and named(f"{tmp_path}/[0-9].mp4") == ["3.mp4"]
  monkeypatch.chdir(tmp_path / "a")
  assert named("*.mp4") == named("./*.mp4") == ["1.mp4"] and named("../*.mp4") == ["3.mp4"]
  assert [str(path) for path in listing.videos(".")[0]] == ["1.mp4", "5.mkv", "b/2.mp4"]


def test_accents_in_one_piece_and_apart_are_the_same_name(tmp_path):
  assert APART != TOGETHER
  tree(tmp_path, f"{APART}/{APART}.mp4", f"{APART}/b.mp4")
  for folder in (APART, TOGETHER):
    for pattern in ("", "/*.mp4", f"/{TOGETHER}.mp4", f"/{APART[:-1]}?.mp4"):
      found = {one.name: one.where for one in recordings.find(f"{tmp_path}/{folder}{pattern}")}
      assert found[TOGETHER] == str(tmp_path / APART / f"{APART}.mp4")  # its path is the disk's
  (tmp_path / "l.txt").write_text(f"{TOGETHER}/{TOGETHER}.mp4\n")
  (one,) = recordings.find(str(tmp_path / "l.txt"))
  assert one.name == f"{TOGETHER}/{TOGETHER}" and os.path.exists(one.where)
  (tmp_path / "l.jsonl").write_text(f'{{"path": "{APART}/b.mp4", "name": "{APART}", "episode": "{APART}"}}\n')
  (one,) = recordings.find(str(tmp_path / "l.jsonl"))
  assert (one.name, one.episode) == (TOGETHER, TOGETHER)


def test_names_that_differ_in_form_alone_are_one_clear_line(tmp_path):
  tree(tmp_path, f"{APART}.mp4", f"{TOGETHER}.mp4")
  with pytest.raises(InputError, match="differ in how their letters are encoded alone; rename one"):
    recordings.find(str(tmp_path))
  tree(tmp_path / "kinds", "a.mp4", "a.mov")
  with pytest.raises(InputError, match="differ in their ending alone; rename one, or name one kind"):
    recordings.find(str(tmp_path / "kinds"))
  (tmp_path / "l.jsonl").write_text("".join(f'{{"path": "a.mp4", "name": "{n}"}}\n' for n in (APART, TOGETHER)))
  with pytest.raises(InputError, match="line 2: the name .* stands in line 1 already"):
    recordings.find(str(tmp_path / "l.jsonl"))


@pytest.mark.parametrize("table, asked", [(TOGETHER, APART), (APART, TOGETHER)])
def test_tables_decisions_and_episodes_match_in_either_form(tmp_path, table, asked):
  (tmp_path / "t.csv").write_text(f"clip,episode,source\n{table}.mp4,{table},{table}\n")
  assert records.read_episodes(tmp_path / "t.csv", [asked]) == [Entry(asked, TOGETHER, TOGETHER)]
  (tmp_path / "d.json").write_text(f'{{"{table}": {{"keep": false}}}}')
  assert list(manifest.read_decisions(tmp_path / "d.json")) == [TOGETHER]
  assert Episodes.parse(f"{asked},other@1.0", ("other", table), 30, 90).numbers.tolist() == [1, 0]
  assert names.plain(table) == names.plain(asked) == names.printable(table) == TOGETHER


def test_files_from_a_mac_prepare_with_their_table(tmp_path):
  for seed, name in enumerate(("Zoë", "Łukasz é", "Ünal")):
    media.clip(tmp_path / "in" / f"{unicodedata.normalize('NFD', name)}.mp4", seed, 1.0)
  rows = [f"{name},{name}" for name in ("Zoë", "Łukasz é", "Ünal")]
  (tmp_path / "t.csv").write_text("\n".join(["clip,episode", *rows]), encoding="utf-8")
  (tmp_path / "d.json").write_text('{"Ünal": {"keep": false}}', encoding="utf-8")
  given = {"episodes": tmp_path / "t.csv", "decisions": tmp_path / "d.json"}
  given["holdout"] = [unicodedata.normalize("NFD", "Zoë")]
  made = prepare.prepare(tmp_path / "out", str(tmp_path / "in"), height=16, width=16, faces=False, **given)
  assert made["episodes"] == ["Łukasz é"] and made["holdout_episodes"] == ["Zoë"] and list(made["skipped"]) == ["Ünal"]


def test_names_of_screen_recordings_can_stand_in_a_list(tmp_path):
  name = "Screen Recording 2024-01-01 at 3.14.15\u202fPM"  # macOS writes a narrow space
  tree(tmp_path, f"{name}.mov")
  (tmp_path / "l.txt").write_text(f"{name}.mov\n")
  assert [one.name for one in recordings.find(str(tmp_path / "l.txt"))] == [name]
  (tmp_path / "l.jsonl").write_text('{"path": "a.mp4", "name": "caf\ufffd"}')  # as the manifest names what is no UTF-8
  assert [one.name for one in recordings.find(str(tmp_path / "l.jsonl"))] == ["caf\ufffd"]
  (tmp_path / "l.jsonl").write_text('{"path": "a.mp4", "name": "a\\nb"}')
  with pytest.raises(InputError, match="letters in one line"):
    recordings.find(str(tmp_path / "l.jsonl"))
