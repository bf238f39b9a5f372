"""Token data sets: what is written is read, and codes that do not fit are refused."""

import os

import numpy as np
import pytest

from nwt_jax.data.tokens import Tokens, write_tokens
from nwt_jax.errors import InputError

METADATA = {"height": 4, "width": 3, "heads": 2, "codes": 16, "episodes": ["a"], "dvae_sha256": "f" * 64, "extra": 1}


def clip(**changes):
  codes = np.random.default_rng(0).integers(0, 16, (5, 4, 3, 2), dtype=np.int32)
  return {"name": "x", "episode": 0, "codes": codes, "mel": np.ones((20, 80)), "truth": None} | changes


def test_what_is_written_is_read(tmp_path):
  made = write_tokens(tmp_path / "t", {"train": iter([clip(), clip(name="y", truth={"a": [1.5]})])}, METADATA)
  tokens = Tokens(tmp_path / "t", "train")
  assert len(tokens) == 2 and tokens.metadata == made and made["extra"] == 1
  assert made["splits"] == {"train": 2} and made["frames"] == {"train": 10}
  assert tokens[0]["codes"].dtype == np.uint8 and tokens[0]["truth"] is None and tokens[1]["truth"] == {"a": [1.5]}
  np.testing.assert_array_equal(tokens[1]["codes"], clip()["codes"])
  part = tokens.window(1, 2, 3)
  np.testing.assert_array_equal(part["codes"], clip()["codes"][2:])
  assert part["mel"].shape == (12, 80) and part["episode"] == 0
  with pytest.raises(ValueError, match="which has 5"):
    tokens.window(0, 3, 3)


def test_codes_that_do_not_fit_are_refused(tmp_path):
  for bad in (
    clip(codes=np.full((5, 4, 3, 2), 16)),
    clip(codes=np.full((5, 4, 3, 2), -1)),
    clip(codes=np.zeros((5, 3, 4, 2), int)),
    clip(mel=np.ones((19, 80))),
  ):
    with pytest.raises(ValueError, match="wanted"):
      write_tokens(tmp_path / "t", {"train": [bad]}, METADATA)
  with pytest.raises(ValueError, match="dvae_sha256"):
    write_tokens(tmp_path / "t", {"train": [clip()]}, {k: v for k, v in METADATA.items() if k != "dvae_sha256"})
  with pytest.raises(InputError, match="left to train on"):
    write_tokens(tmp_path / "t", {"train": [], "test": [clip()]}, METADATA)
  assert os.listdir(tmp_path) == []


def test_tokens_in_use_are_not_touched(tmp_path):
  write_tokens(tmp_path / "t", {"train": [clip()]}, METADATA)
  with pytest.raises(InputError, match="--workdir"):
    write_tokens(tmp_path / "t", {"train": [clip()]}, METADATA)
  made = write_tokens(tmp_path / "t", {"train": [clip(name="new")]}, METADATA, overwrite=True)
  assert Tokens(tmp_path / "t", "train")[0]["name"] == "new" and made["frames"] == {"train": 5}


def test_missing_tokens_name_the_command(tmp_path, dataset):
  with pytest.raises(InputError, match="configs/tokenize.py"):
    Tokens(tmp_path, "train")
  with pytest.raises(InputError, match="holds clips, wanted tokens"):
    Tokens(dataset, "train")
