"""One training step of each paper configuration lowers at full size; nothing is allocated."""

import importlib

import jax
import pytest

from nwt_jax.train.stages import abstract

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["dvae_lwt", "dvae_lwt:mem8", "far", "mar"])
def test_step_lowers(name):
  module, _, variant = name.partition(":")
  config = importlib.import_module(f"nwt_jax.configs.{module}").get_config(variant)
  state, step = abstract.update(config)
  text = jax.jit(step).lower(state, abstract.batch(config, config.data.batch_size)).as_text()
  assert ("convolution" if config.family == "dvae" else "dot_general") in text
