"""Every full config as it stands: a changed hyperparameter shows in the diff of tests/golden."""

import importlib
import json
import re
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"
CONFIGS = [
  "dvae_lwt",
  "dvae_lwt:mem8",
  "dvae_lwt:demo",
  "tokenize",
  "far",
  "far:demo",
  "far:causal",
  "mar",
  "mar:demo",
  "mar:causal",
  "dvae_mnist",
  "dvae_mnist:loss=class",
  "dvae_mnist:loss=frozen",
  "dvae_mnist:heads=2,codes=46",
]


def written(name: str) -> str:
  module, _, arg = name.partition(":")
  config = importlib.import_module(f"configs.{module}").get_config(arg)
  return json.dumps(json.loads(config.to_json_best_effort()), indent=1, sort_keys=True) + "\n"


def file_name(name: str) -> str:
  return re.sub("[:=,]", "_", name) + ".json"


@pytest.mark.parametrize("name", CONFIGS)
def test_config_is_as_recorded(name):
  path = GOLDEN / file_name(name)
  assert written(name) == path.read_text(), "write it anew with `python -m tests.test_configs` if the change is wanted"


@pytest.mark.parametrize("name", ["dvae_lwt", "tokenize", "far", "mar", "dvae_mnist"])
def test_an_unknown_argument_is_refused(name):
  with pytest.raises(ValueError, match="choose from"):
    written(f"{name}:huge")


if __name__ == "__main__":
  GOLDEN.mkdir(exist_ok=True)
  for each in CONFIGS:
    (GOLDEN / file_name(each)).write_text(written(each))
