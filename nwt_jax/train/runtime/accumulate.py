"""Gradient accumulation: a batch is computed in parts, one after another, where memory is too small for the whole."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array

from nwt_jax.errors import ConfigError


def accumulate_gradients(gradient: Callable[[Any, Array], Any], parts: int) -> Callable[[Any, Array], Any]:
  """Builds a function that averages `gradient` over `parts` parts of a batch, each with its own noise.

  Args: gradient: (batch, key) -> a tree of means over the batch: gradients and metrics. Metrics that are no means, such
    as codes in use, become means over the parts.
  Returns: the same for the whole batch; `gradient` itself where there is one part.
  """
  if parts == 1:
    return gradient

  def whole(batch, key):
    # Every parts-th clip: each device's share of the batch has its share of every part.
    cut = jax.tree.map(lambda x: rearrange(x, "(b n) ... -> n b ...", n=parts), batch)

    def add(total, numbered):
      number, part = numbered
      return jax.tree.map(jnp.add, total, gradient(part, jax.random.fold_in(key, number))), None

    one = jax.eval_shape(gradient, jax.tree.map(lambda x: x[0], cut), key)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), one)
    total, _ = jax.lax.scan(add, zeros, (jnp.arange(parts), cut))
    return jax.tree.map(lambda x: x / parts, total)

  return whole


def check_parts(parts: int, batch_size: int, devices: int) -> None:
  """Raises: InputError: parts that do not divide the batch, or that the devices cannot share equally."""
  if parts < 1 or batch_size % parts or batch_size // parts % devices:
    raise ConfigError(
      f"a batch of {batch_size} in {parts} parts does not divide among {devices} devices; set --config.data.batch_size "
      "to a multiple of both, or another --config.train.accumulate"
    )
