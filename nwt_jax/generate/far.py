"""FAR decoding: one step a frame, all its Memcodes at once, with cached causal convolutions (paper 2.2.2, B.2.3)."""

from typing import Any, no_type_check

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct
from jaxtyping import Array, Float, Int, Key, UInt8

from nwt_jax.generate.noise import draw, frame_noise
from nwt_jax.models.far import FAR, Cache, Folded


@no_type_check  # in a tree of shapes or specs the leaves are no arrays
@struct.dataclass
class FARState:
  """The state of sampling between two chunks.

  previous: codes of the last frame; `num_codes` before the first. cache: past inputs of the decoder's convolutions."""

  previous: Int[Array, "b i j k"]
  cache: Cache


def init_state(model: FAR, batch: int, dtype: Any = jnp.float32) -> FARState:
  """Returns the state of clips that have not begun. Args: batch: how many. dtype: the folded weights'."""
  previous = jnp.full((batch, *model.grid, model.num_heads), model.num_codes, jnp.int32)
  return FARState(previous=previous, cache=model.empty_cache(batch, dtype))


def fold(model: FAR, params: Any, dtype: Any = None) -> tuple[dict, Folded]:
  """Computes the weights that decoding reads, in the form in which it reads them, once for a loaded model.

  Args: params: the model's variables. dtype: type to decode in, the same as in `init_state`; None keeps that of the
    parameters. Logits, noise and argmax are float32 at least."""
  layers = {n: v for n, v in params["params"].items() if n.startswith(("linears", "residual", "logits"))}
  weights = {"params": layers}, model.apply(params, method="fold")
  return weights if dtype is None else jax.tree.map(lambda w: w.astype(dtype), weights)


def sample_chunk(
  model: FAR,
  weights: tuple[dict, Folded],
  state: FARState,
  condition: tuple[Float[Array, "b t u v f"], ...],
  keys: Key[Array, " b"],
  first_frame: int | Int[Array, ""],
  temperature: float | Float[Array, ""] = 1.0,
) -> tuple[UInt8[Array, "b t i j k"], FARState]:
  """Samples the next frames. Chunks in a row give what one call gives.

  Args: weights: what `fold` returns. condition: `FAR.condition` of these frames. keys: one per clip. first_frame: index
    of the chunk's first frame in its clip. temperature: 0 takes the most likely codes.
  Returns: codes [b t i j k], and the state after them."""
  layers, folded = weights
  shape = (*model.grid, model.num_heads, model.num_codes)
  frames = first_frame + jnp.arange(condition[0].shape[1])
  noise = jax.vmap(lambda frame: frame_noise(keys, frame, shape))(frames)  # the whole chunk's, before its steps

  def step(state, inputs):
    noise, now = inputs
    now = tuple(c[:, None] for c in now)
    logits, cache = model.apply(layers, folded, state.previous[:, None], now, state.cache, method="frame")
    codes = draw(logits[:, 0], noise, temperature).astype(jnp.int32)
    return FARState(previous=codes, cache=cache), codes.astype(jnp.uint8)

  by_frame = tuple(jnp.moveaxis(c, 1, 0).astype(folded.down[0][0].dtype) for c in condition)
  state, codes = jax.lax.scan(step, state, (noise, by_frame))
  return rearrange(codes, "t b i j k -> b t i j k"), state
