"""What our MAR sampler is compared with: other ways to draw the same Memcodes, each as good as it is without our ideas.

Every baseline is (model, params, state, condition, keys, first_frame, temperature) -> (codes, state), as
`nwt_jax.generate.mar.sample_chunk` with the model's variables in place of folded weights.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax

from nwt_jax.generate import mar_reference
from nwt_jax.generate.mar_reference import ReferenceState
from nwt_jax.generate.noise import draw, frame_noise
from nwt_jax.models.causal import mish, row_widths
from nwt_jax.models.mar import MAR


def slots_state(model: MAR, batch: int, dtype=jnp.float32) -> ReferenceState:
  """For a row of dilation d, d slots that each hold the three inputs that the position with this slot looks back at."""
  rings = [
    [
      jnp.zeros((dilation, batch, (kernel - 1) * width), dtype)
      for (kernel, dilation, _), width in zip(rows, row_widths(model.linear_dim, rows), strict=True)
    ]
    for rows in model.blocks
  ]
  return mar_reference.init_state(model, batch, dtype, cache=(jnp.int32(0), rings))


def slots(model: MAR, params, state, condition, keys, first_frame, temperature):
  """The fastest plain cache that we know for a CPU: a row reads one slot, and writes it back shifted by one input."""
  tree = params["params"]

  def predict(cache, previous, cond, _):
    time, rings = cache
    x, kept = model.apply(params, previous, method=lambda module, codes: module.embed(codes)), []
    for n, (rows, buffers) in enumerate(zip(model.blocks, rings, strict=True)):
      block = tree[f"residual_{n}"]
      x = x @ tree[f"linears_{n}"]["kernel"][: x.shape[-1]] + cond[n]
      y, written = x, []
      for r, ((_, dilation, _), ring) in enumerate(zip(rows, buffers, strict=True)):
        row = block[f"row_{r}"]
        slot = lax.dynamic_index_in_dim(ring, time % dilation, 0, keepdims=False)
        taps = jnp.concatenate([slot, y], axis=-1)
        written.append(lax.dynamic_update_index_in_dim(ring, taps[:, y.shape[-1] :], time % dilation, 0))
        y = mish(taps @ rearrange(row["kernel"], "a c f -> (a c) f") + row["bias"][None])
      if "shortcut" in block:
        x = x @ block["shortcut"]["kernel"] + block["shortcut"].get("bias", jnp.zeros(1))[None]
      x = x + y
      kept.append(written)
    logits = x @ tree["logits"]["kernel"] + tree["logits"]["bias"][None]
    return rearrange(logits, "b (k n) -> b k n", k=model.num_heads), (time + 1, kept)

  return mar_reference.scan(model, state, condition, keys, first_frame, temperature, predict, lambda cache: cache)


def naive(model: MAR, params, codes, condition, keys, frame: int, position: int, temperature):
  """No cache: the whole clip so far through the network, for one Memcode. Static `frame` and `position`: where it is.

  Args: codes: Memcodes from the clip's start on [b t i j k], of which those before the position are read.
  Returns: the Memcode at the position [b k]."""
  count = frame * model.positions + position + 1
  flat = rearrange(codes, "b t i j k -> b (t i j) k")[:, : count - 1].astype(jnp.int32)
  previous = jnp.pad(flat, ((0, 0), (1, 0), (0, 0)), constant_values=model.num_codes)
  cond = tuple(rearrange(c, "b t p f -> b (t p) f")[:, :count] for c in condition)
  logits, _ = model.apply(params, None, previous, cond, 0, method="window")
  noise = frame_noise(keys, jnp.int32(frame), (*model.grid, model.num_heads, model.num_codes))
  return draw(logits[:, -1], rearrange(noise, "b i j k n -> b (i j) k n")[:, position], temperature)


BASELINES = {"plain": (mar_reference.init_state, mar_reference.sample_chunk), "slots": (slots_state, slots)}


def program(name: str, model: MAR) -> Callable:
  """A jitted baseline."""
  return jax.jit(functools.partial(BASELINES[name][1], model))
