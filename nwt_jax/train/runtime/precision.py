"""Precision of the products; parameters, losses, optimisers and norms are always float32 (C.2.1, C.2.2)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nwt_jax.errors import ConfigError
from nwt_jax.train.preflight.values import PRECISIONS


def with_precision(apply: Callable, precision: str) -> Callable:
  """Returns a network whose products are computed in `precision`.

  Args: apply: (params, *inputs) -> arrays. precision: "tensorfloat32" is used for products where the backend has it;
    "bfloat16" is used for all of the network, from float32 parameters and to float32 outputs.
  Raises: InputError: a precision that is not in PRECISIONS.
  """
  if precision not in PRECISIONS:
    raise ConfigError(f"--config.train.precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")

  def in_products(*args, **kwargs):
    with jax.default_matmul_precision(precision):
      return apply(*args, **kwargs)

  def mixed(*args, **kwargs):
    args, kwargs = _cast((args, kwargs), jnp.bfloat16)
    return _cast(apply(*args, **kwargs), jnp.float32)

  return mixed if precision == "bfloat16" else in_products


def _cast(tree: Any, dtype) -> Any:
  """Casts floating-point arrays of `tree`; everything else stays as it is."""
  floating = lambda x: isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating)
  return jax.tree.map(lambda x: x.astype(dtype) if floating(x) else x, tree)
