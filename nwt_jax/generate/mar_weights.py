"""MAR's decoder for sampling: the trained weights with everything that is linear multiplied out beforehand.

Exact algebra on Table 6's decoder, so that a step of sampling has 10 products in a row instead of 16, and reads less:

- embedding, linear projection, first convolution and first shortcut are linear in one-hot Memcodes: tables;
- a later block's projection is followed by its first convolution's newest tap and its shortcut: one product;
- the contribution of conditioning to either is computed for many positions at once;
- older taps are separate from the newest: their sum can be computed `dilation` positions early (`mar_tiles`).
"""

import itertools
from collections.abc import Callable
from typing import Any, no_type_check

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct
from jaxtyping import Array, Float, Int

from nwt_jax.models.causal import add_bias, mish, time_taps
from nwt_jax.models.mar import MAR


@no_type_check  # in a tree of shapes or specs the leaves are no arrays
@struct.dataclass
class FoldedConv:
  """A causal convolution whose newest tap is stored separately from the older ones, which come oldest first.

  In the first row of a block the newest tap and the bias are None: they are in `FoldedBlock.enter` and `bias`. `older`
  is None where it is in `FoldedWeights.early`; in the first row of the first block it is a table for every tap."""

  newest: Float[Array, "c f"] | None
  older: Float[Array, "ac f"] | Float[Array, "a k m f"] | None  # m = num_codes + 2
  bias: Float[Array, " f"] | None


@no_type_check
@struct.dataclass
class FoldedBlock:
  """A linear projection and the residual block after it; the input is that of the projection.

  enter: [projection @ newest tap of the first row, projection @ shortcut], concatenated over output channels; in the
  first block, one lookup table per head. cond: the first row's taps on conditioning. cond_shortcut: the shortcut's
  weights on conditioning. bias: those of the first row and of the shortcut, concatenated likewise."""

  enter: Float[Array, "x fy"] | Float[Array, "k m fy"]
  cond: Float[Array, "al f"]
  cond_shortcut: Float[Array, "l y"]
  bias: Float[Array, " fy"]
  rows: tuple[FoldedConv, ...]


@no_type_check
@struct.dataclass
class FoldedWeights:
  """The weights that sampling reads, computed from a MAR's variables.

  early: the older taps of each group of `mar_tiles.early_groups`, stacked; g convolutions are one matrix product."""

  blocks: tuple[FoldedBlock, ...]
  early: tuple[Float[Array, "g ac f"], ...]
  logits: Float[Array, "x kn"]
  logits_bias: Float[Array, " kn"]


def fold(model: MAR, params: Any, dtype: Any = None) -> FoldedWeights:
  """Multiplies out all products of two linear maps, once for a loaded model.

  Args: params: the model's variables. dtype: type of the result; None keeps the parameters'.
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
      older = jnp.einsum("...l,alf->a...f", linear, first["kernel"][:-1])
      rows = [FoldedConv(None, older if n == 0 else _taps(older), None)]
      rows += [FoldedConv(row["kernel"][-1], _taps(row["kernel"][:-1]), row["bias"]) for row in rest]
      bias = jnp.concatenate([first["bias"], shortcut["bias"]])
      both = jnp.concatenate([first["kernel"][-1], shortcut["kernel"]], axis=1)
      enter = jnp.einsum("...l,lf->...f", linear, both)
      blocks.append(FoldedBlock(enter, _taps(first["kernel"]), shortcut["kernel"], bias, tuple(rows)))
  weights = FoldedWeights(tuple(blocks), (), tree["logits"]["kernel"], tree["logits"]["bias"])
  return jax.tree.map(lambda w: w.astype(dtype or w.dtype), weights)


def _taps(kernel: Float[Array, "a c f"]) -> Float[Array, "_ f"]:
  return rearrange(kernel, "a c f -> (a c) f")


def _by_code(model: MAR, table: Float[Array, "r d"], linear: Float[Array, "x l"]) -> Float[Array, "k m l"]:
  """Returns each head's contribution to the first projection as a table: a row per code, one row for "empty"
  (`num_codes`), and a row of zeros for the positions before the clip."""
  table = jnp.pad(table, ((0, model.num_codes + 2 - len(table)), (0, 0)))
  return jnp.einsum("nd,kdl->knl", table, rearrange(linear, "(k d) l -> k d l", k=model.num_heads))


def product(x: Float[Array, "... c"], kernel: Float[Array, "c f"]) -> Float[Array, "... f"]:
  """Returns x @ kernel, multiplied in the kernel's type and summed in float32 at least."""
  exact = jnp.promote_types(kernel.dtype, jnp.float32)
  return jnp.einsum("...c,cf->...f", x.astype(kernel.dtype), kernel, preferred_element_type=exact)


def lookup(table: Float[Array, "k n f"], codes: Int[Array, "b w k"]) -> Float[Array, "b w f"]:
  """Returns the sum over heads of the table's rows for their codes."""
  heads = jnp.arange(table.shape[0])
  return jnp.sum(table[heads, codes].astype(jnp.promote_types(table.dtype, jnp.float32)), axis=2)


def project_cond(
  block: FoldedBlock, cond: Float[Array, "b s l"], positions: int, dilation: int
) -> tuple[Float[Array, "b p f"], Float[Array, "b p y"]]:
  """Computes the contribution of conditioning to a block at several positions at once.

  Args: cond: the block's share of `MAR.condition` at the positions, preceded by as many earlier positions as the
    block's first row looks back. positions: number of positions. dilation: that of the first row.
  Returns: the contributions to the first row and to the shortcut, in the weights' type, because they stay in memory
    until the last of the positions is drawn."""
  count, before = block.cond.shape[0] // cond.shape[-1], cond.shape[1] - positions
  cond = cond.astype(block.cond.dtype)
  return time_taps(cond, count, dilation, positions, 0) @ block.cond, cond[:, before:] @ block.cond_shortcut


def window(
  weights: FoldedWeights,
  codes: Int[Array, "b w k"],
  cond: tuple[tuple[Array, Array], ...],
  first: Float[Array, "b w f"],
  older: Callable[[int, int, Array], Float[Array, "b w _"]],
) -> tuple[Float[Array, "b w _"], dict[tuple[int, int], Float[Array, "b w _"]]]:
  """Evaluates the decoder at w consecutive positions: w = 1 is a step of sequential sampling, w > 1 checks a guess.

  Args: codes: the Memcode before each position. cond: `project_cond` at the positions. first: the sum of the older taps
    of the first convolution. older: (block, row, the row's input here) -> the sum of the older taps of any other row.
  Returns: the logits, and the inputs of all rows but the first, by (block, row), to be cached."""
  x: Any = None
  inputs, dtype = {}, weights.logits.dtype
  for n, block in enumerate(weights.blocks):
    if n:
      inputs[n, 0] = x
    entered = add_bias(lookup(block.enter, codes) if n == 0 else product(x, block.enter), block.bias)
    row, shortcut = cond[n]
    width = row.shape[-1]
    y = mish(entered[..., :width] + row + (older(n, 0, x) if n else first)).astype(dtype)
    for r, row in enumerate(block.rows[1:], 1):
      inputs[n, r] = y
      y = mish(add_bias(product(y, row.newest) + older(n, r, y), row.bias)).astype(dtype)
    x = (entered[..., width:] + shortcut + y).astype(dtype)
  return add_bias(product(x, weights.logits), weights.logits_bias), inputs
