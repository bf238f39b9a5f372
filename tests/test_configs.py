"""Every config as it stands: a changed hyperparameter shows in the diff of tests/golden."""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

from nwt_jax.configs import common

GOLDEN = Path(__file__).parent / "golden"
CONFIG_FILES = Path(__file__).parent.parent / "configs"
CONFIGS = [
  "dvae_lwt",
  "dvae_lwt:mem8",
  "dvae_lwt:elbo",
  "dvae_lwt:demo",
  "dvae_lwt:demo,elbo",
  "dvae_lwt:tiny",
  "tokenize",
  "tokenize:demo",
  "tokenize:tiny",
  *(f"{name}{arg}" for name in ("far", "mar")
    for arg in ("", ":kernel6", ":demo", ":demo,corrupt_history", ":causal", ":tiny")),
  "dvae_mnist",
  "dvae_mnist:loss=elbo",
  "dvae_mnist:loss=class",
  "dvae_mnist:loss=frozen",
  "dvae_mnist:heads=2,codes=46",
  "dvae_mnist:tiny",
]  # fmt: skip
PROGRAMS = sorted(path.stem for path in CONFIG_FILES.glob("*.py") if "def get_config(" in path.read_text())


def written(name: str) -> str:
  module, _, arg = name.partition(":")
  config = importlib.import_module(f"nwt_jax.configs.{module}").get_config(arg)
  return json.dumps(json.loads(config.to_json_best_effort()), indent=1, sort_keys=True) + "\n"


def file_name(name: str) -> str:
  return re.sub("[:=,]", "_", name) + ".json"


@pytest.mark.parametrize("name", CONFIGS)
def test_config_is_as_recorded(name):
  path = GOLDEN / file_name(name)
  assert written(name) == path.read_text(), "write it anew with `python -m tests.test_configs` if the change is wanted"


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_word_that_a_config_takes_is_in_a_golden(name, monkeypatch):
  known = []

  def variants(arg, words):
    known.extend(words)
    return frozenset(word for word in arg.split(",") if word)

  module = importlib.import_module(f"nwt_jax.configs.{name}")
  monkeypatch.setattr(common, "variants", variants)
  module.get_config("")
  assert "tiny" in known
  recorded = {word for each in CONFIGS if each.partition(":")[0] == name for word in each.partition(":")[2].split(",")}
  assert "" in recorded, f"{name} by itself has no golden"
  assert set(known) <= {word.partition("=")[0] for word in recorded}


def test_every_loss_of_mnist_has_a_golden():
  texts = {path.read_text() for path in GOLDEN.glob("dvae_mnist*.json")}
  losses = importlib.import_module("nwt_jax.configs.dvae_mnist").LOSSES
  assert len({written(f"dvae_mnist:loss={loss}") for loss in losses} & texts) == len(losses) == 4


def test_each_golden_is_of_a_config():
  assert {path.name for path in GOLDEN.iterdir()} == {file_name(name) for name in CONFIGS}


# C.2.1, C.2.2, 2.2.1: what the paper gives, under the names of our fields
PAPER = {
  "gan_weight": 5e-3, "gp_weight": 10.0, "kl_weight": 1.0, "kl_midpoint": 5_000.0, "kl_rate": 1e-3,
  "style_kl_weight": 1.0, "learning_rate": 1e-4, "b1": 0.9, "b2": 0.999, "eps": 1e-7, "sampler": "gumbel",
}  # fmt: skip


def constants(tree):
  """(field, value, line) of all constants that a config sets, however it is written down."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Dict):
      pairs = [(key.value, value) for key, value in zip(node.keys, node.values, strict=True) if hasattr(key, "value")]
    elif isinstance(node, ast.Call):
      first = [("learning_rate", node.args[0])] if getattr(node.func, "attr", "") == "adam" else []
      pairs = first + [(keyword.arg, keyword.value) for keyword in node.keywords]
    elif isinstance(node, ast.Assign):
      pairs = [(target.attr, node.value) for target in node.targets if isinstance(target, ast.Attribute)]
    else:
      continue
    for field, value in pairs:
      try:
        yield field, ast.literal_eval(value), value.lineno
      except ValueError:
        pass  # computed from others


def test_what_differs_from_the_papers_numbers_says_so_beside_it():
  seen = set()
  for path in CONFIG_FILES.glob("*.py"):
    lines = path.read_text().splitlines()
    for field, value, number in constants(ast.parse(path.read_text())):
      if field in PAPER:
        seen.add(field)
        near = "\n".join(lines[max(number - 7, 0) : number])
        assert value == PAPER[field] or re.search("DEPARTS:|GAP:", near), f"{path.name}:{number} {field} = {value}"
  assert seen == PAPER.keys()


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_unknown_argument_is_refused(name):
  with pytest.raises(ValueError, match="choose from"):
    written(f"{name}:huge")


if __name__ == "__main__":
  GOLDEN.mkdir(exist_ok=True)
  for each in CONFIGS:
    (GOLDEN / file_name(each)).write_text(written(each))
