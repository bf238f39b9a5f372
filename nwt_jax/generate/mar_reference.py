"""MAR decoding as Table 6 and B.2.3 read: a cached scan over positions, one Memcode a step in raster order.

`generate.mar` draws the same Memcodes faster. This sampler is the one to read first; tests and benchmarks hold the
other to it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from einops import rearrange
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt8

from nwt_jax.generate.noise import draw, frame_noise
from nwt_jax.models.mar import MAR


class ReferenceState(NamedTuple):
  """The state of sampling between two chunks: the last Memcode, and the caches of the decoder's convolutions."""

  previous: Int[Array, "b k"]
  cache: Any  # models.mar.Cache, or that of another `predict`


def init_state(model: MAR, batch: int, dtype: Any = jnp.float32, cache: Any = None) -> ReferenceState:
  """Returns the state of clips that have not begun.

  Args: batch: number of clips. cache: an empty cache for another `predict` than the model's; None: the model's own."""
  previous = jnp.full((batch, model.num_heads), model.num_codes, jnp.int32)
  return ReferenceState(previous, model.empty_cache(batch, dtype) if cache is None else cache)


def sample_chunk(
  model: MAR,
  params: Any,
  state: ReferenceState,
  condition: tuple[Float[Array, "b t p f"], ...],
  keys: Key[Array, " b"],
  first_frame: int | Int[Array, ""],
  temperature: float | Float[Array, ""] = 1.0,
) -> tuple[UInt8[Array, "b t i j k"], ReferenceState]:
  """Samples the next frames. Args and returns: see `generate.mar.sample_chunk`; `params` are the model's variables."""

  def predict(cache, previous, condition, position):
    condition = tuple(c[:, None] for c in condition)
    logits, cache = model.apply(params, cache, previous[:, None], condition, position, method="window")
    return logits[:, 0], cache

  return scan(model, state, condition, keys, first_frame, temperature, predict, model.next_frame)


def scan(
  model: MAR,
  state: ReferenceState,
  condition: Any,
  keys: Any,
  first_frame: Any,
  temperature: Any,
  predict: Callable,
  next_frame: Callable,
) -> tuple[UInt8[Array, "b t i j k"], ReferenceState]:
  """Samples frames by a scan over the positions of a frame within a scan over frames.

  Args: predict: (cache, previous Memcode [b k], condition [b f] per block, position) -> (logits [b k n], cache).
    next_frame: cache -> the cache for the next frame. The others are as in `sample_chunk`."""
  shape = (*model.grid, model.num_heads, model.num_codes)

  def memcode(state, inputs):
    position, condition, noise = inputs
    logits, cache = predict(state.cache, state.previous, condition, position)
    codes = draw(logits, noise, temperature).astype(jnp.int32)
    return ReferenceState(codes, cache), codes.astype(jnp.uint8)

  def frame(state, inputs):
    number, condition = inputs
    by_position = tuple(jnp.moveaxis(c, 1, 0) for c in condition)
    noise = rearrange(frame_noise(keys, number, shape), "b i j k n -> (i j) b k n")
    state, codes = lax.scan(memcode, state, (jnp.arange(model.positions), by_position, noise))
    return state._replace(cache=next_frame(state.cache)), codes

  by_frame = tuple(jnp.moveaxis(c, 1, 0) for c in condition)
  state, codes = lax.scan(frame, state, (first_frame + jnp.arange(condition[0].shape[1]), by_frame))
  return rearrange(codes, "t (i j) b k -> b t i j k", i=model.grid[0]), state
