"""Folders that were moved are found by what a data set tells of them."""

import os

import pytest

from nwt_jax.data import origins


@pytest.fixture
def tree(tmp_path):
  for name in ("runs/mine/tokens", "runs/mine/dvae", "clips"):
    (tmp_path / "old" / name).mkdir(parents=True)
  return tmp_path


def test_what_was_moved_together_is_found_again(tree, monkeypatch):
  old, new, own = tree / "old", tree / "new" / "disk", "runs/mine/tokens"
  stored = [origins.relative(old / path, old / own) for path in ("runs/mine/dvae", "clips")]
  monkeypatch.chdir(old)
  again = [origins.relative(path, own) for path in ("runs/mine/dvae", "clips")]
  assert stored == again == ["../dvae", "../../../clips"]
  new.parent.mkdir()
  old.rename(new)
  for link, path in zip(stored, ("runs/mine/dvae", "clips"), strict=True):
    assert origins.find(link, new / own, os.path.isdir) == new / path
    monkeypatch.chdir(new)
    assert origins.find(link, own, os.path.isdir) == new / path


def test_absolute_paths_of_older_data_sets_are_found_where_they_are_or_below_what_was_moved(tree):
  old, new, stored = tree / "old", tree / "new", str(tree / "old" / "runs" / "mine" / "dvae")
  assert origins.find(stored, old / "runs" / "mine" / "tokens", os.path.isdir) == old / "runs" / "mine" / "dvae"
  old.rename(new)
  assert origins.find(stored, new / "runs" / "mine" / "tokens", os.path.isdir) == new / "runs" / "mine" / "dvae"


def test_what_is_there_but_does_not_fit_is_passed_over(tree):
  mine = tree / "old" / "runs" / "mine"
  (mine.parent / "dvae").mkdir()
  fits = lambda path: path.is_dir() and path.parent.name == "runs"
  assert origins.find("../dvae", mine / "tokens", fits) == mine.parent / "dvae"
  assert origins.find("../dvae", mine / "tokens", lambda path: False) is None
  assert origins.find("", mine / "tokens", lambda path: True) is None


def test_a_linked_data_set_tells_from_where_it_is_or_from_the_link(tree):
  mine = tree / "old" / "runs" / "mine"
  (tree / "links").mkdir()
  (tree / "links" / "tokens").symlink_to(mine / "tokens")
  fits = lambda path: path.is_dir() and path.resolve() == mine / "dvae"
  assert origins.find("../dvae", tree / "links" / "tokens", fits).resolve() == mine / "dvae"
  (tree / "links" / "dvae").symlink_to(mine / "dvae")
  assert origins.find("../dvae", tree / "links" / "tokens", fits) == tree / "links" / "dvae"
