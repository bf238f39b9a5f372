"""One training step of each paper configuration lowers at full size; nothing is allocated."""

import functools

import jax
import jax.numpy as jnp
import pytest

from configs import dvae_lwt, far, mar
from nwt_jax import build
from nwt_jax.objectives.dvae import make_losses
from nwt_jax.objectives.prior import prior_loss
from nwt_jax.train import dvae_step, prior_step

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("variant", ["", "mem8"])
def test_dvae_adv_step_lowers(variant):
  config = dvae_lwt.get_config(variant)
  model, critics = build.dvae(config.model), build.critics(config.critics, config.num_classes)
  shape = (config.data.batch_size, config.data.frames, 256, 224, 3)
  video, episode = jax.ShapeDtypeStruct((1, 2, 256, 224, 3), jnp.float32), jax.ShapeDtypeStruct((1, 2), jnp.int32)
  key = jax.random.key(0)
  gen = jax.eval_shape(lambda v, e: model.init(key, v, e, key, "gumbel"), video, episode)
  critic = jax.eval_shape(lambda v: critics.init(key, v), video)
  tx = build.optimiser(config.optim.gen)
  state = jax.eval_shape(lambda g, c: dvae_step.init_state(g, c, tx, tx), gen, critic)
  step = dvae_step.make_dvae_step(make_losses(model.apply, critics.apply, build.weights(config.objective)), tx, tx, 0)
  batch = {"video": jax.ShapeDtypeStruct(shape, jnp.uint8), "episode": jax.ShapeDtypeStruct(shape[:1], jnp.int32)}
  assert "convolution" in jax.jit(step).lower(state, batch).as_text()


@pytest.mark.parametrize("module", [far, mar])
def test_prior_step_lowers(module):
  config = module.get_config()
  prior = build.prior(config.family, config.model)
  tx = build.optimiser(config.optim)
  params = jax.eval_shape(lambda: build.init_prior(prior, jax.random.key(0)))
  state = jax.eval_shape(lambda p: prior_step.init_state(p, tx), params)
  objective = functools.partial(prior_loss, style_kl_weight=config.objective.style_kl_weight)
  loss = prior_step.make_prior_loss(prior, objective, config.objective.own_errors, config.objective.hidden_first)
  clips, frames = config.data.batch_size, config.data.frames
  batch = {
    "codes": jax.ShapeDtypeStruct((clips, frames, 16, 14, 8), jnp.uint8),
    "mel": jax.ShapeDtypeStruct((clips, 4 * frames, 80), jnp.float32),
    "episode": jax.ShapeDtypeStruct((clips,), jnp.int32),
  }
  assert "dot_general" in jax.jit(prior_step.make_prior_step(loss, tx, 0)).lower(state, batch).as_text()
