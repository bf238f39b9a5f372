"""Weights that change with the step (C.2.1)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = Float[Array, ""] | float


def logistic(step: Array | int, midpoint: float, rate: float) -> Scalar:
  """Anneals the KL from 0 to 1. PAPER: C.2.1: 1 / (1 + exp(-rate (step - midpoint)))."""
  return 1.0 / (1.0 + jnp.exp(-rate * (jnp.asarray(step, jnp.float32) - midpoint)))


def fade_out(step: Array | int, steps: int) -> Scalar:
  """Falls linearly from 1 at step 0 to 0 at `steps`; it is 0 throughout where `steps` is 0."""
  return jnp.clip(1.0 - jnp.asarray(step, jnp.float32) / steps, 0.0, 1.0) if steps else jnp.zeros(())
