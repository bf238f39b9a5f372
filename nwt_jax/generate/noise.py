"""Sampling noise as a pure function of (key, frame, position, head), so that no chunking can change a sample."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


def frame_noise(
  keys: Key[Array, " b"], frame: Int[Array, ""], shape: tuple[int, int, int, int]
) -> Float[Array, "b i j k n"]:
  """Draws the Gumbel noise of a frame's Memcodes; every sampler uses the same noise.

  Args: keys: one per clip, so that a clip's sample does not depend on its batch. frame: the frame's number in the clip.
    shape: (i, j, k, n)."""
  return jax.vmap(lambda key: jax.random.gumbel(jax.random.fold_in(key, frame), shape))(keys)


def draw(logits: Float[Array, "... n"], noise: Float[Array, "... n"], temperature: Any) -> Int[Array, "..."]:
  """Draws from softmax(logits / temperature) by Gumbel-max; temperature 0 is argmax."""
  return jnp.argmax(logits + temperature * noise.astype(logits.dtype), axis=-1)
