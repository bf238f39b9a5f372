"""Tiny priors for tests, their inputs, and what to ask of them."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.models import batch, conditions, model, parameters, shapes  # noqa: F401

# Tests compile far more than they run.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def count(variables) -> int:
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))


def influence(function, x: np.ndarray) -> np.ndarray:
  """Largest absolute derivative of each output row by each input row, for function: [s d] -> [t ...]."""
  jacobian = jit(jax.jacrev(function))(jnp.asarray(x))  # [t ... s d]
  rows = np.abs(np.asarray(jacobian)).reshape(jacobian.shape[0], -1, *x.shape)
  return rows.max(axis=(1, 3))
