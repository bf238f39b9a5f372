"""FAR decoding: one step a frame, all its Memcodes at once, with cached causal convolutions (paper 2.2.2, B.2.3)."""

from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct
from jaxtyping import Array, Float, Int, Key, UInt8

from nwt_jax.generate.noise import draw, frame_noise
from nwt_jax.models.far import FAR


@struct.dataclass
class FARState:
  """Where sampling stands between two chunks."""

  previous: Any  # codes of the last frame, int32 [b i j k]; `num_codes` before the first
  cache: Any  # far.Cache


def init_state(model: FAR, batch: int, dtype=jnp.float32) -> FARState:
  """The state of clips that have not begun."""
  previous = jnp.full((batch, *model.grid, model.num_heads), model.num_codes, jnp.int32)
  return FARState(previous=previous, cache=model.empty_cache(batch, dtype))


def sample_chunk(
  model: FAR,
  params,
  state: FARState,
  condition: tuple[Float[Array, "b t u v f"], ...],
  keys: Key[Array, " b"],
  first_frame: int | Int[Array, ""],
  temperature: float | Float[Array, ""] = 1.0,
) -> tuple[UInt8[Array, "b t i j k"], FARState]:
  """Samples the next frames. Chunks in a row give what one call gives.

  Args: params: the model's variables. condition: `FAR.condition` of these frames. keys: one a clip. first_frame: index
    of the chunk's first frame in its clip. temperature: 0 takes the most likely codes.
  Returns: codes [b t i j k], and the state after them."""
  frames = first_frame + jnp.arange(condition[0].shape[1])

  def step(state, inputs):
    frame, now = inputs
    now = tuple(c[:, None] for c in now)
    logits, cache = model.apply(params, state.previous[:, None], now, state.cache, method="frame")
    noise = frame_noise(keys, frame, logits.shape[2:])
    codes = draw(logits[:, 0], noise, temperature).astype(jnp.int32)
    return FARState(previous=codes, cache=cache), codes.astype(jnp.uint8)

  by_frame = tuple(jnp.moveaxis(c, 1, 0) for c in condition)
  state, codes = jax.lax.scan(step, state, (frames, by_frame))
  return rearrange(codes, "t b i j k -> b t i j k"), state
