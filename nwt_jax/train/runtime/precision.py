"""Precision of the arithmetic; parameters, losses, optimisers and norms are float32 in all of them (C.2.1, C.2.2)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nwt_jax.errors import InputError
from nwt_jax.train.preflight.values import PRECISIONS


def in_precision(apply: Callable, precision: str) -> Callable:
  """A network whose products are computed in `precision`.

  Args: apply: (params, *inputs) -> arrays. precision: "tensorfloat32" asks the backend for it, where it has one;
    "bfloat16" computes in it altogether, from float32 parameters and to float32 outputs.
  Raises: InputError: a precision that is none of PRECISIONS.
  """
  if precision not in PRECISIONS:
    raise InputError(f"--config.train.precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")

  def asked(*args, **kwargs):
    with jax.default_matmul_precision(precision):
      return apply(*args, **kwargs)

  def mixed(*args, **kwargs):
    args, kwargs = _cast((args, kwargs), jnp.bfloat16)
    return _cast(apply(*args, **kwargs), jnp.float32)

  return mixed if precision == "bfloat16" else asked


def _cast(tree: Any, dtype) -> Any:
  """Floating-point arrays of `tree` in another type; everything else as it is."""
  floating = lambda x: isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating)
  return jax.tree.map(lambda x: x.astype(dtype) if floating(x) else x, tree)
