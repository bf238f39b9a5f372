"""Configs that cannot be: one line that names the field, for every family; a bug is none of them."""

import importlib

import numpy as np
import pytest

from nwt_jax.data.tokens import write_tokens
from nwt_jax.errors import InputError
from nwt_jax.io.release import load_card
from nwt_jax.train import mismatch, trial
from nwt_jax.train.preflight import values
from nwt_jax.train.stages import abstract

NAN = float("nan")


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
  folder = tmp_path_factory.mktemp("noise") / "clips"
  trial.write_noise(folder)
  return folder


def config_of(name, clips, **changes):
  module, _, arg = name.partition(":")
  config = importlib.import_module(f"nwt_jax.configs.{module}").get_config(f"{arg},tiny" if arg else "tiny")
  with config.unlocked(), config.ignore_type():
    if module == "dvae_lwt":
      config.critics = ((((2, 4, 4), 4, 1, 4),), (((1, 2, 2), 1, 1, 4), ((1, 4, 4), 2, 2, 4)))
    config.data.path = str(clips)
    config.update_from_flattened_dict(changes)
  return config


VALUES = [
  ("mar", "data.batch_size", 0, "1 or more"),
  ("mar", "data.frames", -1, "1 or more"),
  ("mar", "data.seed", -1, "0 to 2**32 - 1"),
  ("mar", "data.num_threads", -1, "0 or more"),
  ("mar", "optim.learning_rate", NAN, "a finite number"),
  ("mar", "optim.learning_rate", -1e-3, "more than 0"),
  ("mar", "optim.b1", 1.0, "less than 1"),
  ("mar", "optim.eps", 0.0, "more than 0"),
  ("mar", "optim.warmup", -5, "0 or more"),
  ("mar", "objective.history_corruption", 1.5, "0 to 1"),
  ("mar", "objective.style_kl_weight", -1.0, "0 or more"),
  ("mar", "model.grid", (4, "x"), "whole numbers"),
  ("mar", "model.grid", (0, 3), "1 or more"),
  ("mar", "model.grid", ("(4",), "whole numbers"),
  ("mar", "model.style_dim", 0, "1 or more"),
  ("mar", "model.num_codes", 300, "2 to 256"),
  ("mar", "model.min_log_std", float("-inf"), "a finite number"),
  ("mar", "sample.temperature", -1.0, "0 or more"),
  ("mar", "sample.style_clips", -1, "0 or more"),
  ("mar", "train.precision", "float16", "one of float32, tensorfloat32, bfloat16"),
  ("mar", "train.export_dtype", "float8", "one of float32, float16"),
  ("mar", "train.keep", 0, "1 or more"),
  ("mar", "train.ema_decay", 1.0, "less than 1"),
  ("far", "eval.frames", 0, "1 or more"),
  ("far", "model.blocks", (((3, 2, 2), 1, 0),), "1 or more"),
  ("dvae_lwt", "train.update_order", "critics", "one of joint, alternate"),
  ("dvae_lwt", "train.critic_steps", 0, "1 or more"),
  ("dvae_lwt", "eval.chunk_frames", 0, "1 or more"),
  ("dvae_lwt", "critics", ((((1, 4, 4), 0, 1, 4),),), "1 or more"),
  ("dvae_lwt", "model.stem", -4, "1 or more"),
  ("dvae_lwt", "objective.kl_rate", NAN, "a finite number"),
  ("dvae_mnist", "data.shift", -1, "0 or more"),
  ("dvae_mnist", "objective.class_smoothing", 1.0, "less than 1"),
  ("tokenize", "sampler", "best", "one of gumbel, argmax"),
  ("tokenize", "chunk_frames", 0, "1 or more"),
  ("tokenize", "seed", 2**32, "0 to 2**32 - 1"),
]


@pytest.mark.parametrize("name, field, value, wanted", VALUES)
def test_a_value_that_no_run_can_use_is_named(clips, name, field, value, wanted):
  values.check(config_of(name, clips))
  with pytest.raises(InputError) as error:
    values.check(config_of(name, clips, **{field: value}))
  said = str(error.value)
  assert said.startswith(f"--config.{field} has ") and wanted in said and len(said.splitlines()) == 1


TOGETHER = [
  ("mar", {"model.grid": (16, 14)}),
  ("mar", {"model.grid": (4, 3, 2)}),
  ("mar", {"model.grid": (4,)}),
  ("mar", {"model.audio_rows": ((4, 1),)}),
  ("mar", {"model.audio_rows": ()}),
  ("mar", {"model.audio_tower": ((1, 6),)}),
  ("mar", {"model.style_rows": (((2, 2), 1, 2, 8),)}),
  ("mar", {"model.blocks": ()}),
  ("mar", {"model.blocks": ((4, 1, 12),)}),
  ("mar", {"model.mel_stride": 3}),
  ("mar", {"model.tower_kernel": (3, 2)}),
  ("far", {"model.grid": (8, 7)}),
  ("far", {"model.padded": (3, 3)}),
  ("far", {"model.down": ((4, 2),)}),
  ("far", {"model.up": ()}),
  ("far", {"model.blocks": ((((3, 2), 1, 12),),)}),
  ("dvae_lwt", {"model.kernel": 3}),
  ("dvae_lwt", {"model.patch": 3}),
  ("dvae_lwt", {"model.attention_dim": 7}),
  ("dvae_lwt", {"model.temporal": ((4,),)}),
  ("dvae_lwt", {"model.stages": (1, 8)}),
  ("dvae_lwt", {"critics": ((((2, 4), 4, 1, 4),),)}),
  ("dvae_lwt", {"critics": ((((1, 4, 4), 3, 1, 4),),)}),
  ("dvae_lwt", {"critics": ((((1, 4, 4), 2, 3, 4),),)}),
  ("dvae_mnist", {"model.channels": 3}),
  ("dvae_mnist", {"critics": ()}),
]


@pytest.mark.parametrize("name, changes", TOGETHER)
def test_what_does_not_fit_together_is_named_with_what_the_file_has(clips, name, changes):
  harmless = {"data.batch_size": 2, "train.steps": 9}
  config, default = config_of(name, clips, **harmless, **changes), config_of(name, clips)
  with pytest.raises(InputError) as error, mismatch.explain_mismatch(config, default):
    rehearse(config)
  said, field = str(error.value), next(iter(changes))
  assert said.startswith(f"the config does not fit together: --config.{field}=")
  assert f"(its file has {mismatch._text(mismatch.flatten(mismatch._plain(default))[field])}): " in said
  assert "batch_size" not in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
  "config, override, wanted",
  [
    ("dvae_lwt.py:tiny", "model.kernel=3", "--config.model.kernel=3 (its file has 4): kernel 3x3 is no multiple"),
    ("mar.py:tiny", "model.audio_rows=((4,1),)", "--config.model.audio_rows=((4,1)) (its file has ((4,1,8),(3,1,8),"),
    ("mar.py:tiny", "model.mel_stride=3", "--config.model.mel_stride=3 (its file has 4)"),
    ("far.py:tiny", "model.padded=(3,3)", "--config.model.padded=(3,3) (its file has (4,4))"),
    ("dvae_lwt.py:tiny", "model.stem[0]=3", "an override is not understood"),
    ("dvae_lwt.py:tiny", "optim.gen.learning_rate=nan", "--config.optim.gen.learning_rate has nan, wanted a finite"),
  ],
)
def test_the_program_says_it_in_a_line(refused, clips, tiny_release, tmp_path, config, override, wanted):
  data = clips if config.startswith("dvae") else tokens_of(tiny_release, tmp_path / "tokens")
  more = [f"--config.data.path={data}", "--config.data.batch_size=4", "--config.data.frames=3", f"--config.{override}"]
  assert wanted in refused("main", f"--config=configs/{config}", f"--workdir={tmp_path / 'run'}", *more)


def tokens_of(release, folder):
  """Two clips of noise, as if the release's dVAE had made them."""
  card, noise = load_card(release, "dvae"), np.random.default_rng(0)
  facts = {"height": 4, "width": 3, "heads": 2, "codes": 4, "episodes": card["episodes"], "fps": 30}
  facts |= {"dvae_sha256": card["sha256"], "dvae": str(release), "clips": "gone", "clips_fingerprint": "x"}
  facts |= {"video": card["video"], "sample_rate": 24_000}
  codes, mel = noise.integers(0, 4, (12, 4, 3, 2), np.uint8), noise.normal(size=(48, 80))
  made = [{"name": f"c{n}", "episode": 0, "codes": codes, "mel": mel} for n in range(2)]
  write_tokens(folder, {"train": made, "validation": [], "test": []}, facts)
  return folder


def rehearse(config):
  """What training does first: builds the update of this config."""
  height, width, channels = (32, 24, 3) if config.family == "dvae" else (32, 32, 1)
  state, step = abstract.update(config, height, width, channels)
  abstract.jax.eval_shape(step, state, abstract.batch(config, config.data.batch_size, height, width, channels))


def test_two_values_that_fail_only_together_are_both_named(clips):
  changes = {"model.patch": 3, "model.kernel": 3}
  line = mismatch.explain(config_of("dvae_lwt", clips, **changes), config_of("dvae_lwt", clips))
  assert "--config.model.kernel=3" in line and "--config.model.patch=3" in line


def test_a_bug_keeps_its_traceback_whatever_was_set(clips, monkeypatch):
  config, default = config_of("mar", clips, **{"data.batch_size": 2}), config_of("mar", clips)
  with pytest.raises(ZeroDivisionError), mismatch.explain_mismatch(config, default):
    raise ZeroDivisionError  # the config fits, so it is none of its values
  config = config_of("mar", clips, **{"model.grid": (16, 14)})

  def broken(*_):
    raise TypeError("a bug of ours")

  monkeypatch.setattr(abstract.prior_step, "make_update", broken)
  with pytest.raises(TypeError, match="a bug of ours"), mismatch.explain_mismatch(config, default):
    abstract.update(config)  # it fails with the file's own values, too
