"""Builds the training update from abstract shapes (ShapeDtypeStruct).

Configs of full size can thus be traced and lowered on machines that are too small to run them.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nwt_jax import build
from nwt_jax.io.mel import MEL_BINS, MEL_FRAMES
from nwt_jax.objectives.prior import prior_loss
from nwt_jax.train.stages import dvae_step, prior_step

HEIGHT, WIDTH = 256, 224  # PAPER: 3.1


def update(config: Any, height: int = HEIGHT, width: int = WIDTH, channels: int = 3) -> tuple[Any, Callable]:
  """Returns the state's shapes and the step (state, batch) -> (state, metrics), from a config of any family."""
  steps = []

  def start(first):
    if config.family in ("dvae", "digits"):
      state, step = dvae_step.make_update(config, build.dvae(config.model, config.train.remat), first)
    else:
      objective = functools.partial(prior_loss, style_kl_weight=config.objective.style_kl_weight)
      model = build.prior(config.family, config.model, config.train.remat)
      state, step = prior_step.make_update(config, model, objective)
    steps.append(step)
    return state

  with jax.disable_jit():  # parameters are drawn with compiler options, which only an outermost jit may have
    state = jax.eval_shape(start, jax.ShapeDtypeStruct((1, 2, height, width, channels), jnp.uint8))
  return state, steps[0]


def batch(
  config: Any, clips: int, height: int = HEIGHT, width: int = WIDTH, channels: int = 3
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns the shapes of a batch of so many clips."""
  frames, model = config.data.get("frames", 1), config.model
  episode = jax.ShapeDtypeStruct((clips,), jnp.int32)
  video = jax.ShapeDtypeStruct((clips, frames, height, width, channels), jnp.uint8)
  if config.family == "digits":
    return {"video": video, "episode": episode, "label": episode}
  if config.family == "dvae":
    return {"video": video, "episode": episode}
  codes = jax.ShapeDtypeStruct((clips, frames, *model.grid, model.num_heads), jnp.uint8)
  mel = jax.ShapeDtypeStruct((clips, MEL_FRAMES * frames, MEL_BINS), jnp.float32)
  return {"codes": codes, "mel": mel, "episode": episode}
