"""Former names of fields and variants: on a command line, in a workdir's config and in the shipped cards."""

import importlib
import json

import pytest

from nwt_jax import aliases
from nwt_jax.errors import ConfigError
from nwt_jax.io.release import SHIPPED, load_card
from nwt_jax.train.preflight import inputs
from nwt_jax.train.runtime import workdir

FORMER = {present: former for former, present in aliases.FIELDS.items()}


def former_config(config):
  """A config as a run of before wrote it."""
  fields = json.loads(config.to_json_best_effort())
  for present, former in FORMER.items():
    group, name = present.split(".")
    if name in fields[group]:
      fields[group][former.split(".")[1]] = fields[group].pop(name)
  return fields


def test_overrides_get_the_present_names():
  given = [
    "main",
    "--config=configs/far.py:demo,repair",
    "--config.objective.own_errors=0.1",
    "-config.train.fresh",
    "a",
  ]
  wanted = ["--config.objective.history_corruption=0.1", "-config.train.reinit", "a"]
  assert aliases.rename_flags(given) == [*given[:2], *wanted]
  others = [
    "--config.objective.own_errors_too=1",
    "--objective.own_errors=1",
    "own_errors",
    "--workdir=config.train.fresh",
  ]
  assert aliases.rename_flags(others) == others


@pytest.mark.parametrize("family", ["far", "mar"])
def test_every_former_name_stands_for_a_field(family):
  config = importlib.import_module(f"nwt_jax.configs.{family}").get_config()
  fields = workdir.flatten(json.loads(config.to_json_best_effort()))
  assert set(aliases.FIELDS.values()) <= fields.keys() and not aliases.FIELDS.keys() & fields.keys()


@pytest.mark.parametrize("family", ["far", "mar"])
def test_a_former_variant_is_the_present_one(family):
  module = importlib.import_module(f"nwt_jax.configs.{family}")
  for former, present in aliases.WORDS.items():
    assert module.get_config(f"demo,{former}") == module.get_config(f"demo,{present}") != module.get_config("demo")


def test_fields_of_a_stored_config_get_the_present_names_and_keep_their_values():
  config = importlib.import_module("nwt_jax.configs.mar").get_config("demo,corrupt_history")
  former = former_config(config)
  assert former["objective"]["own_errors"] == 0.6 and "history_corruption" not in former["objective"]
  assert aliases.rename_fields(former) == json.loads(config.to_json_best_effort())
  assert "own_errors" in former["objective"]  # the argument stays as it was
  assert aliases.rename_fields({}) == {} and aliases.rename_fields({"objective": None}) == {"objective": None}
  both = {"objective": {"own_errors": 0.1, "history_corruption": 0.2}}
  assert aliases.rename_fields(both) == {"objective": {"history_corruption": 0.2}}


@pytest.mark.parametrize("family", ["far", "mar"])
def test_configs_in_shipped_cards_have_todays_objective(family):
  stored = json.loads(load_card(SHIPPED, family)["training"]["config"])
  assert "own_errors" in stored["objective"]
  present = importlib.import_module(f"nwt_jax.configs.{family}").get_config("demo")
  assert set(aliases.rename_fields(stored)["objective"]) == set(present.objective)


def test_a_run_begun_under_former_names_goes_on_and_reports_real_changes_alone(tmp_path, capsys):
  config = importlib.import_module("nwt_jax.configs.mar").get_config("tiny,corrupt_history")
  workdir.record_run(tmp_path, config, "data")
  (tmp_path / "config.json").write_text(json.dumps(former_config(config)))
  workdir.check_run(tmp_path, config, "data")
  assert capsys.readouterr().out == ""
  config.objective.history_corruption = 0.25
  workdir.check_run(tmp_path, config, "data")
  assert capsys.readouterr().out == "config changed: objective.history_corruption was 0.6, is 0.25\n"


def test_the_program_takes_former_names(refused, without_jax, tmp_path):
  former = ["--config=configs/mar.py:tiny,repair", "--config.objective.own_errors=1.5", "--config.train.fresh=episodes"]
  said = refused("main", *former, "--config.data.path=tokens", f"--workdir={tmp_path / 'run'}", **without_jax)
  assert "--config.objective.history_corruption has 1.5, wanted 0 to 1" in said


def test_a_study_begun_under_former_names_goes_on():
  from nwt_jax.analysis.mnist import without_path

  config = importlib.import_module("nwt_jax.configs.dvae_mnist").get_config("tiny")
  former = former_config(config)
  assert "fresh" in former["train"]
  assert without_path(json.dumps(former)) == without_path(config.to_json_best_effort())


def test_a_config_file_that_sets_a_former_field_is_refused(tmp_path):
  config = importlib.import_module("nwt_jax.configs.mar").get_config("tiny")
  assert aliases.former_field(config) is None and aliases.former_field({"objective": {}}) is None
  with config.unlocked():
    config.objective.own_errors = 0.6
  with pytest.raises(ConfigError, match="field objective.own_errors, whose name is objective.history_corruption now"):
    inputs.check(config, tmp_path)
