"""An update as training builds it, with shapes in place of arrays: full size can be lowered where it could not run."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nwt_jax import build
from nwt_jax.objectives.prior import prior_loss
from nwt_jax.train import dvae, prior

HEIGHT, WIDTH = 256, 224  # PAPER: 3.1


def update(config: Any) -> tuple[Any, Callable]:
  """The state's shapes, and the step (state, batch) -> (state, metrics), from a config of family dvae, far or mar."""
  steps = []

  def start(first):
    if config.family == "dvae":
      state, step = dvae.make_update(config, build.dvae(config.model, config.train.remat), first)
    else:
      objective = functools.partial(prior_loss, style_kl_weight=config.objective.style_kl_weight)
      model = build.prior(config.family, config.model, config.train.remat)
      state, step = prior.make_update(config, model, objective)
    steps.append(step)
    return state

  with jax.disable_jit():  # parameters are drawn with compiler options, which only an outermost jit may have
    state = jax.eval_shape(start, jax.ShapeDtypeStruct((1, 2, HEIGHT, WIDTH, 3), jnp.uint8))
  return state, steps[0]


def batch(config: Any, clips: int) -> dict[str, jax.ShapeDtypeStruct]:
  """The shapes of a batch of so many clips."""
  frames, model = config.data.frames, config.model
  episode = jax.ShapeDtypeStruct((clips,), jnp.int32)
  if config.family == "dvae":
    return {"video": jax.ShapeDtypeStruct((clips, frames, HEIGHT, WIDTH, 3), jnp.uint8), "episode": episode}
  codes = jax.ShapeDtypeStruct((clips, frames, *model.grid, model.num_heads), jnp.uint8)
  mel = jax.ShapeDtypeStruct((clips, model.mel_stride * frames, build.MEL_BINS), jnp.float32)
  return {"codes": codes, "mel": mel, "episode": episode}
