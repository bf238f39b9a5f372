"""Weights that change with the step (C.2.1)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = Float[Array, ""] | float


def logistic(step: Array | int, midpoint: float, rate: float) -> Scalar:
  """PAPER: C.2.1: KL annealing from 0 to 1: 1 / (1 + exp(-rate (step - midpoint)))."""
  return 1.0 / (1.0 + jnp.exp(-rate * (jnp.asarray(step, jnp.float32) - midpoint)))


def fade_out(step: Array | int, steps: int) -> Scalar:
  """From 1 at step 0 linearly to 0 at `steps`; 0 throughout when `steps` is 0."""
  return jnp.clip(1.0 - jnp.asarray(step, jnp.float32) / steps, 0.0, 1.0) if steps else jnp.zeros(())
