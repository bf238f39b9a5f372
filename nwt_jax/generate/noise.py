"""Sampling noise as a pure function of (key, frame, position, head), so that no chunking can change a sample."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


def frame_noise(
  keys: Key[Array, " b"], frame: Int[Array, ""], shape: tuple[int, int, int, int]
) -> Float[Array, "b i j k n"]:
  """Gumbel noise of a frame's Memcodes, the same for every strategy.

  Args: keys: one a clip, so that a clip's sample does not depend on its batch. shape: (i, j, k, n)."""
  return jax.vmap(lambda key: jax.random.gumbel(jax.random.fold_in(key, frame), shape))(keys)


def draw(logits: Float[Array, "... n"], noise: Float[Array, "... n"], temperature) -> Int[Array, "..."]:
  """A Gumbel-max draw from softmax(logits / temperature); temperature 0 is argmax."""
  return jnp.argmax(logits + temperature * noise.astype(logits.dtype), axis=-1)
