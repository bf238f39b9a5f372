"""Control of style: sample it, copy it from a clip, set single variates (paper 3.5, B.2.2)."""

import re

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from nwt_jax.errors import InputError
from nwt_jax.models.prior import Prior
from nwt_jax.types import Codes, Style


def sample(model: Prior, keys: Key[Array, " b"]) -> Style:
  """Style sampling: one draw from N(0, I) for each key."""
  return jax.vmap(lambda key: jax.random.normal(key, (model.style_dim,)))(keys)


def copy(model: Prior, params, codes: Codes, keys: Key[Array, " b"] | None = None) -> Style:
  """Style copying: the posterior of reference clips.

  Args: codes: Memcodes of the references [b t i j k]. keys: draw from the posterior, as the paper does; None takes its
    mean, which is the same at every call."""
  mean, log_std = model.apply(params, codes, method="style_posterior")
  return mean if keys is None else mean + jnp.exp(log_std) * sample(model, keys)


def edit(style: Style, text: str) -> Style:
  """Sets variates by hand.

  Args: text: "3=+2.0" or "3=2, 5=-1" sets single variates, counted from 0; a list of numbers sets all of them.
  Returns: the style with every clip's variates set.
  Raises: InputError: not of this form, no such variate, or a list of another length."""
  size = style.shape[-1]
  items = [item for item in re.split(r"[,\s]+", text.strip()) if item]
  try:
    pairs = [item.split("=") for item in items]
    if items and all(len(pair) == 1 for pair in pairs):
      variates, values = range(len(items)), [float(item) for item in items]
    else:
      variates, values = [int(variate) for variate, _ in pairs], [float(value) for _, value in pairs]
  except ValueError:
    variates, values = [], []
  if not values or not all(-1e3 < value < 1e3 for value in values):
    raise InputError(f'style {text!r} is not understood; write variates as "3=+2.0, 5=-1" or a list of {size} numbers')
  if "=" not in text and len(values) != size:
    raise InputError(f'style has {len(values)} numbers, this model wants {size}; to set single variates write "3=+2.0"')
  if not all(0 <= variate < size for variate in variates):
    raise InputError(f"style {text!r} names a variate that is not there; this model has 0 to {size - 1}")
  return style.at[:, jnp.array(variates)].set(jnp.array(values, style.dtype)[None])
