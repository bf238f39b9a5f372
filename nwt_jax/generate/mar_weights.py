"""MAR's decoder for sampling: the trained weights with everything that is linear multiplied out beforehand.

Exact algebra on Table 6's decoder, so that a step of sampling has 10 products in a row instead of 16, and reads less:

- embedding, linear projection, first convolution and first shortcut are linear in one-hot Memcodes: tables;
- a later block's projection is followed by its first convolution's newest tap and its shortcut: one product;
- what conditioning adds to either is computed for many places at once;
- taps on the past are apart from the newest tap: they are known `dilation` steps early (`mar.sample_chunk`).
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct
from jaxtyping import Array, Float, Int

from nwt_jax.models.causal import add_bias, mish, time_taps
from nwt_jax.models.mar import MAR


@struct.dataclass
class Row:
  """A causal convolution; a block's first row has neither newest tap nor bias: they are in `Block.enter` and `bias`."""

  now: Any  # newest tap, [c f]
  # Older taps, oldest first, [(a - 1) c, f]; None where they are in `Weights.early`; in the first block's first row
  # tables [a - 1, k, n + 2, f].
  past: Any
  bias: Any  # [f]


@struct.dataclass
class Block:
  """A linear projection and the residual block after it, fed by what comes before the projection."""

  enter: Any  # first row's newest tap, and shortcut: [x, f + y]; in the first block a table [k, n + 2, f + y]
  told: Any  # the first row's taps on conditioning, [a l, f]
  told_shortcut: Any  # [l, y]
  bias: Any  # [f + y]
  rows: tuple[Row, ...]


@struct.dataclass
class Weights:
  """What sampling reads of a MAR's variables."""

  blocks: tuple[Block, ...]
  early: tuple[Any, ...]  # older taps of rows that are computed together, [g, (a - 1) c, f] each
  logits: Any  # [x, k n]
  logits_bias: Any


def fold(model: MAR, params, dtype=None) -> Weights:
  """Multiplies out, once for a loaded model.

  Args: params: the model's variables. dtype: of the result, None: the parameters'.
  """
  tree, blocks = params["params"], []
  with jax.default_matmul_precision("float32"):
    inputs = [model.decoder_width, *(rows[-1][2] for rows in model.blocks)]
    for n, (width, out) in enumerate(itertools.pairwise(inputs)):
      linear, taken = tree[f"linears_{n}"]["kernel"][:width], tree[f"residual_{n}"]
      first, *rest = (taken[f"row_{r}"] for r in range(len(model.blocks[n])))
      none = {"kernel": jnp.eye(out, dtype=linear.dtype)}  # widths agree
      shortcut = {"bias": jnp.zeros(out, linear.dtype)} | taken.get("shortcut", none)
      if n == 0:
        linear = _by_code(model, tree["embed"]["table"], linear)
      past = jnp.einsum("...l,alf->a...f", linear, first["kernel"][:-1])
      rows = [Row(None, past if n == 0 else _taps(past), None)]
      rows += [Row(row["kernel"][-1], _taps(row["kernel"][:-1]), row["bias"]) for row in rest]
      bias = jnp.concatenate([first["bias"], shortcut["bias"]])
      both = jnp.concatenate([first["kernel"][-1], shortcut["kernel"]], axis=1)
      enter = jnp.einsum("...l,lf->...f", linear, both)
      blocks.append(Block(enter, _taps(first["kernel"]), shortcut["kernel"], bias, tuple(rows)))
  weights = Weights(tuple(blocks), (), tree["logits"]["kernel"], tree["logits"]["bias"])
  return jax.tree.map(lambda w: w.astype(dtype or w.dtype), weights)


def _taps(kernel: Float[Array, "a c f"]) -> Float[Array, "_ f"]:
  return rearrange(kernel, "a c f -> (a c) f")


def _by_code(model: MAR, table: Float[Array, "r d"], linear: Float[Array, "x l"]) -> Float[Array, "k m l"]:
  """What each head's code adds to the first projection; after the codes "empty" (`num_codes`), then none at all."""
  table = jnp.pad(table, ((0, model.num_codes + 2 - len(table)), (0, 0)))
  return jnp.einsum("nd,kdl->knl", table, rearrange(linear, "(k d) l -> k d l", k=model.num_heads))


def product(x: Float[Array, "... c"], kernel: Float[Array, "c f"]) -> Float[Array, "... f"]:
  """x @ kernel in the kernel's type, summed in float32 at least."""
  exact = jnp.promote_types(kernel.dtype, jnp.float32)
  return jnp.einsum("...c,cf->...f", x.astype(kernel.dtype), kernel, preferred_element_type=exact)


def look_up(table: Float[Array, "k n f"], codes: Int[Array, "b w k"]) -> Float[Array, "b w f"]:
  """The sum of the heads' rows."""
  heads = jnp.arange(table.shape[0])
  return jnp.sum(table[heads, codes].astype(jnp.promote_types(table.dtype, jnp.float32)), axis=2)


def hear(block: Block, told: Float[Array, "b s l"], places: int, dilation: int) -> tuple[Array, Array]:
  """What conditioning gives a block at several places, computed at once.

  Args: told: the block's share of `MAR.condition`, led by as many places as its first row looks back.
  Returns: for its first row [b p f] and for its shortcut [b p y], in the weights' type: they are kept until the last of
    the places is drawn."""
  count, before = block.told.shape[0] // told.shape[-1], told.shape[1] - places
  told = told.astype(block.told.dtype)
  return time_taps(told, count, dilation, places, 0) @ block.told, told[:, before:] @ block.told_shortcut


def window(
  weights: Weights,
  codes: Int[Array, "b w k"],
  heard: tuple[tuple[Array, Array], ...],
  older: Callable[[int, int, Array | None], Float[Array, "b w f"]],
) -> Float[Array, "b w _"]:
  """Logits of w Memcodes in a row; with w = 1 a step of sequential sampling, with more the check of a guess.

  Args: codes: the Memcode before each. heard: `hear` at their places. older: (block, row, the row's input here; None
    in the first row, which reads Memcodes) -> what the row's taps on the past give."""
  x, kept = None, weights.logits.dtype
  for n, block in enumerate(weights.blocks):
    entered = add_bias(look_up(block.enter, codes) if n == 0 else product(x, block.enter), block.bias)
    row, shortcut = heard[n]
    width = row.shape[-1]
    y = mish(entered[..., :width] + row + older(n, 0, x)).astype(kept)
    for r, row in enumerate(block.rows[1:], 1):
      y = mish(add_bias(product(y, row.now) + older(n, r, y), row.bias)).astype(kept)
    x = (entered[..., width:] + shortcut + y).astype(kept)
  return add_bias(product(x, weights.logits), weights.logits_bias)
