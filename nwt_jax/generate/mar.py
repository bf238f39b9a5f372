"""MAR decoding: one step a Memcode, in raster order, with cached causal convolutions (paper 2.2.2, B.2.3)."""

from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct
from jaxtyping import Array, Float, Int, Key, UInt8

from nwt_jax.generate.noise import draw, frame_noise
from nwt_jax.models.mar import MAR


@struct.dataclass
class MARState:
  """Where sampling stands between two chunks."""

  previous: Any  # the last Memcode, int32 [b k]; `num_codes` before the first
  history: Any  # mar.History


def init_state(model: MAR, batch: int, dtype=jnp.float32) -> MARState:
  """The state of clips that have not begun."""
  previous = jnp.full((batch, model.num_heads), model.num_codes, jnp.int32)
  return MARState(previous=previous, history=model.empty_history(batch, dtype))


def sample_chunk(
  model: MAR,
  params,
  state: MARState,
  condition: tuple[Float[Array, "b t p f"], ...],
  keys: Key[Array, " b"],
  first_frame: int | Int[Array, ""],
  temperature: float | Float[Array, ""] = 1.0,
) -> tuple[UInt8[Array, "b t i j k"], MARState]:
  """Samples the next frames. Chunks in a row give what one call gives.

  Args: params: the model's variables. condition: `MAR.condition` of these frames. keys: one a clip. first_frame: index
    of the chunk's first frame in its clip. temperature: 0 takes the most likely codes.
  Returns: codes [b t i j k], and the state after them."""
  shape = (*model.grid, model.num_heads, model.num_codes)
  frames = first_frame + jnp.arange(condition[0].shape[1])

  def memcode(state, inputs):
    place, now, noise = inputs
    now = tuple(c[:, None] for c in now)
    logits, history = model.apply(params, state.history, state.previous[:, None], now, place, method="window")
    codes = draw(logits[:, 0], noise, temperature).astype(jnp.int32)
    return MARState(previous=codes, history=history), codes.astype(jnp.uint8)

  def frame(state, inputs):
    frame, now = inputs  # what a frame's steps read is computed before them, in bulk
    by_place = tuple(jnp.moveaxis(c, 1, 0) for c in now)
    noise = rearrange(frame_noise(keys, frame, shape), "b i j k n -> (i j) b k n")
    state, codes = jax.lax.scan(memcode, state, (jnp.arange(model.places), by_place, noise))
    return state.replace(history=model.next_frame(state.history)), codes

  by_frame = tuple(jnp.moveaxis(c, 1, 0) for c in condition)
  state, codes = jax.lax.scan(frame, state, (frames, by_frame))
  return rearrange(codes, "t (i j) b k -> b t i j k", i=model.grid[0]), state
