"""Releases: what is written comes back, what is damaged or of another kind is refused."""

import json
import os

import numpy as np
import pytest

from nwt_jax.errors import InputError
from nwt_jax.io import release as checkpoint

PARAMS = {"params": {"a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}, "b": np.ones(2, np.float32)}}


@pytest.fixture
def release(tmp_path):
  checkpoint.save_release(tmp_path / "stage1", "dvae", PARAMS, {"model": {"stem": 3}})
  sha = checkpoint.load_card(tmp_path / "stage1", "dvae")["sha256"]
  card = {"model": {}, "dvae_sha256": sha}
  checkpoint.save_release(tmp_path / "stage2", "mar", PARAMS, card, "float16", dvae=tmp_path / "stage1")
  return tmp_path


def test_a_release_comes_back(release):
  params, card = checkpoint.load_release(release / "stage1", "dvae")
  np.testing.assert_array_equal(params["params"]["a"]["kernel"], PARAMS["params"]["a"]["kernel"])
  assert card["model"] == {"stem": 3} and card["parameters"] == 8
  params, card = checkpoint.load_release(release / "stage2", "mar")
  assert params["params"]["b"].dtype == np.float32 and card["family"] == "mar"


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_who_may_read_a_release_is_for_the_umask_to_say(request, tmp_path, mask):
  before = os.umask(mask)
  request.addfinalizer(lambda: os.umask(before))
  checkpoint.save_release(tmp_path / "one", "dvae", PARAMS, {"model": {}})
  checkpoint.save_release(tmp_path / "two", "mar", PARAMS, {"model": {}}, dvae=tmp_path / "one")
  files = [path for path in tmp_path.rglob("*") if path.is_file()]
  assert len(files) == 6 and {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~mask}


def test_a_prior_brings_its_dvae(release):
  assert checkpoint.load_release(release / "stage2", "dvae")[1]["model"] == {"stem": 3}


def strings(value):
  """All texts in a card, those of the JSON within it too."""
  if isinstance(value, dict):
    return [text for inner in (*value.keys(), *value.values()) for text in strings(inner)]
  if isinstance(value, list):
    return [text for inner in value for text in strings(inner)]
  if isinstance(value, str) and value.startswith("{"):
    return strings(json.loads(value))
  return [value] if isinstance(value, str) else []


def test_a_card_names_no_folder_of_the_machine(tmp_path):
  config = {
    "data": {"path": "/home/ann/data/tokens"},
    "dvae": "../../ann/dvae",
    "train": {"init": "runs/old", "n": [1]},
  }
  card = {"model": {}, "episodes": ["/e"], "training": {"steps": 3, "config": json.dumps(config)}}
  checkpoint.save_release(tmp_path / "a", "dvae", PARAMS, card)
  written = checkpoint.load_card(tmp_path / "a", "dvae")
  assert json.loads(written["training"]["config"]) == {
    "data": {"path": "tokens"}, "dvae": "dvae", "train": {"init": "runs/old", "n": [1]}
  }  # fmt: skip
  assert written["training"]["steps"] == 3 and written["episodes"] == ["/e"]
  # Nor does the copy that a prior brings of an older card
  (tmp_path / "a" / "dvae.json").write_text(json.dumps({**written, "training": card["training"]}))
  facts = {"model": {}, "dvae_sha256": written["sha256"]}
  checkpoint.save_release(tmp_path / "b", "mar", PARAMS, facts, dvae=tmp_path / "a")
  assert checkpoint.load_card(tmp_path / "b", "dvae") == written


@pytest.mark.parametrize("family", checkpoint.FAMILIES)
def test_the_shipped_cards_name_no_folder_either(family):
  _, card = checkpoint.load_release(checkpoint.SHIPPED, family)
  texts = strings(card)
  assert len(texts) > 20 and not [text for text in texts if text.startswith(("/", "~", "..")) or "/work" in text]


def test_a_workdir_with_an_export_is_taken(release):
  (release / "stage1").rename(release / "export")
  assert checkpoint.load_card(release, "dvae")["family"] == "dvae"


def test_every_flipped_byte_of_the_weights_is_refused(release):
  path = release / "stage1" / "dvae.safetensors"
  whole = path.read_bytes()
  for place in range(len(whole)):
    damaged = bytearray(whole)
    damaged[place] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(InputError):
      checkpoint.load_release(release / "stage1", "dvae")


def test_another_kind_another_dvae_and_nothing_are_refused(release):
  with pytest.raises(InputError, match="has no far model .*it holds"):
    checkpoint.load_release(release / "stage2", "far")
  with pytest.raises(InputError, match="no such folder"):
    checkpoint.load_release(release / "nowhere", "mar")
  other = {"params": {"b": np.zeros(2, np.float32)}}
  checkpoint.save_release(release / "stage2", "dvae", other, {"model": {}})
  with pytest.raises(InputError, match="another dVAE"):
    checkpoint.load_release(release / "stage2", "mar")


def test_a_pickle_or_a_false_header_is_refused(release):
  path = release / "stage1" / "dvae.safetensors"
  for content in (b"\x80\x04\x95", b"\xff" * 8 + b"{}", b""):
    path.write_bytes(content)
    with pytest.raises(InputError, match="no safetensors"):
      checkpoint.load_release(release / "stage1", "dvae")


def test_a_card_of_another_family_is_refused(release):
  card = release / "stage1" / "dvae.json"
  card.write_text(json.dumps({**json.loads(card.read_text()), "family": "mar"}))
  with pytest.raises(InputError, match="wanted 'dvae'"):
    checkpoint.load_release(release / "stage1", "dvae")
