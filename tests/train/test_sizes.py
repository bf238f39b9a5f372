"""The sizes that programs advise are those of the configs, and errors on the way name what works."""

import importlib
import types

import jax
import pytest

from nwt_jax import build
from nwt_jax.data import sizes
from nwt_jax.data.clips import Clips
from nwt_jax.errors import InputError
from nwt_jax.train.preflight import inputs
from nwt_jax.train.stages import dvae as stage_1

VARIANTS = (sizes.PAPER, sizes.DEMO, sizes.TINY)


def config(name, variant):
  return importlib.import_module(f"nwt_jax.configs.{name}").get_config(variant.name)


def draws(family, variant, grid):
  """Whether a variant's prior can be built for a grid."""
  fields = {**config(family, variant).model.to_dict(), "grid": grid}
  prior = build.prior(family, fields)
  try:
    jax.eval_shape(lambda key: build.init_prior(prior, key), jax.random.key(0))
  except (TypeError, ValueError):
    return False
  return True


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name or "paper")
def test_variants_are_what_the_configs_say(variant):
  model = config("dvae_lwt", variant).model
  dvae = build.dvae(model, False)
  assert dvae.downsampling == variant.pixels and (model.num_heads, model.num_codes) == (variant.heads, variant.codes)
  config("tokenize", variant)
  for family in ("mar", "far"):
    prior = config(family, variant).model
    assert (tuple(prior.grid), prior.num_heads, prior.num_codes) == (variant.grid, variant.heads, variant.codes)
    square = (variant.most, variant.most)
    assert draws(family, variant, square) and not draws(family, variant, (variant.most + 2, variant.most))


def tokens_of(height, width, grid, heads=8, codes=8):
  return {"height": grid[0], "width": grid[1], "heads": heads, "codes": codes, "dvae_sha256": "",
          "video": {"height": height, "width": width}}  # fmt: skip


@pytest.mark.parametrize(
  "family, started, tokens, remedy",
  [
    ("mar", "", tokens_of(64, 56, (8, 7)), "use --config=configs/mar.py:demo as it is"),
    ("far", "demo", tokens_of(256, 224, (16, 14)), "use --config=configs/far.py as it is"),
    ("mar", "", tokens_of(32, 24, (4, 3), 2, 4), "use --config=configs/mar.py:tiny as it is"),
    ("mar", "", tokens_of(128, 112, (8, 7)), "use --config=configs/mar.py --config.model.grid='(8,7)'"),
    ("mar", "", tokens_of(256, 224, (8, 7), 16),
     "use --config=configs/mar.py --config.model.grid='(8,7)' --config.model.num_heads=16"),
    ("far", "demo", tokens_of(256, 224, (32, 28)),
     "no prior draws so many: train the dVAE with --config=configs/dvae_lwt.py, and tokenize again"),
  ],
)  # fmt: skip
def test_a_prior_of_another_size_names_the_config_that_fits(family, started, tokens, remedy):
  module = importlib.import_module(f"nwt_jax.configs.{family}").get_config(started)
  with pytest.raises(InputError) as error:
    inputs.check_grid(module, tokens)
  assert str(error.value).endswith(f"; {remedy}")
  if remedy.startswith("use"):  # and it does
    _, file, *options = remedy.replace("'", "").removesuffix(" as it is").split()
    name, _, arg = file.removeprefix(f"--config=configs/{family}.py").partition(":")
    fitted = importlib.import_module(f"nwt_jax.configs.{family}").get_config(arg)
    fitted.update_from_flattened_dict(
      {key.removeprefix("--config."): eval(value) for key, value in (option.split("=") for option in options)}
    )
    inputs.check_grid(fitted, tokens)
    prior = build.prior(family, fitted.model)
    jax.eval_shape(lambda key: build.init_prior(prior, key), jax.random.key(0))


@pytest.mark.parametrize(
  "height, width, remedy",
  [(64, 56, "use --config=configs/dvae_lwt.py:demo"), (100, 90, "prepare with --height=256 --width=224")],
)
def test_frames_that_do_not_divide_name_the_config_that_fits(monkeypatch, height, width, remedy):
  metadata = {"height": height, "width": width, "episodes": ["one"]}
  monkeypatch.setattr(stage_1, "Clips", lambda *_: types.SimpleNamespace(metadata=metadata, spec=Clips))
  with pytest.raises(InputError, match=f"frames of {height} x {width} do not divide by 16.*{remedy}"):
    stage_1.make_stage(config("dvae_lwt", sizes.PAPER))


@pytest.mark.slow
def test_what_prepare_advises_trains_to_the_end(start, tmp_path):
  """The printed command, and the same variant for the stages after it, two steps each; tokens of a prior of another
  size are answered by a command that then works."""
  done = start("prepare", "--talker=6", "--height=32", "--width=24", f"--output={tmp_path / 'clips'}")
  assert done.returncode == 0, done.stderr
  command = done.stdout.split("next: ")[1].split()
  assert command[:3] == ["python", "-m", "nwt_jax.main"] and ":tiny" in command[3]
  dvae, tokens = tmp_path / "dvae", tmp_path / "tokens"
  done = start("main", *(word.replace("DIR", str(dvae)) for word in command[3:]))
  assert done.returncode == 0, done.stderr
  common = [f"--config.data.path={tmp_path / 'clips'}", f"--config.dvae={dvae}"]
  done = start("main", "--config=configs/tokenize.py:tiny", f"--workdir={tokens}", *common)
  assert done.returncode == 0, done.stderr
  common = [f"--config.data.path={tokens}", f"--config.dvae={dvae}", f"--workdir={tmp_path / 'mar'}"]
  wrong = start("main", "--config=configs/mar.py", *common)
  assert wrong.returncode == 2 and "; use --config=configs/mar.py:tiny" in wrong.stderr
  done = start("main", wrong.stderr.split("; use ")[1].removesuffix(" as it is\n"), *common)
  assert done.returncode == 0, done.stderr
