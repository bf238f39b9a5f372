"""MAR's decoder for sampling: the trained weights with everything that is linear multiplied out beforehand.

Exact algebra on Table 6's decoder, so that a step of sampling has 10 products in a row instead of 16, and reads less:

- embedding, linear projection, first convolution and first shortcut are linear in one-hot Memcodes: tables;
- a later block's projection is followed by its first convolution's newest tap and its shortcut: one product;
- what conditioning adds to either is computed for many positions at once;
- older taps are apart from the newest tap: what they contribute is known `dilation` positions early (`mar_tiles`).
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
  """A causal convolution with its newest tap apart from the older ones, which come oldest first.

  In the first row of a block the newest tap and the bias are None: they are in `FoldedBlock.enter` and `bias`. `older`
  is None where it is in `FoldedWeights.early`; in the first row of the first block it is a table for every tap."""

  newest: Float[Array, "c f"] | None
  older: Float[Array, "ac f"] | Float[Array, "a k m f"] | None  # m = num_codes + 2
  bias: Float[Array, " f"] | None


@no_type_check
@struct.dataclass
class FoldedBlock:
  """A linear projection and the residual block after it, fed by what comes before the projection.

  enter: the newest tap of the first row beside the shortcut, both behind the projection; in the first block a table for
  every head. cond: the first row's taps on conditioning. cond_shortcut: the shortcut's weights on it."""

  enter: Float[Array, "x fy"] | Float[Array, "k m fy"]
  cond: Float[Array, "al f"]
  cond_shortcut: Float[Array, "l y"]
  bias: Float[Array, " fy"]
  rows: tuple[FoldedConv, ...]


@no_type_check
@struct.dataclass
class FoldedWeights:
  """What sampling reads of a MAR's variables. early: older taps of g convolutions that are computed together."""

  blocks: tuple[FoldedBlock, ...]
  early: tuple[Float[Array, "g ac f"], ...]
  logits: Float[Array, "x kn"]
  logits_bias: Float[Array, " kn"]


def fold(model: MAR, params, dtype=None) -> FoldedWeights:
  """Multiplies out what is linear, once for a loaded model.

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
  """What each head's code adds to the first projection: a row a code, one for "empty" (`num_codes`), one for none."""
  table = jnp.pad(table, ((0, model.num_codes + 2 - len(table)), (0, 0)))
  return jnp.einsum("nd,kdl->knl", table, rearrange(linear, "(k d) l -> k d l", k=model.num_heads))


def product(x: Float[Array, "... c"], kernel: Float[Array, "c f"]) -> Float[Array, "... f"]:
  """x @ kernel in the kernel's type, summed in float32 at least."""
  exact = jnp.promote_types(kernel.dtype, jnp.float32)
  return jnp.einsum("...c,cf->...f", x.astype(kernel.dtype), kernel, preferred_element_type=exact)


def lookup(table: Float[Array, "k n f"], codes: Int[Array, "b w k"]) -> Float[Array, "b w f"]:
  """The sum over heads of their codes' rows."""
  heads = jnp.arange(table.shape[0])
  return jnp.sum(table[heads, codes].astype(jnp.promote_types(table.dtype, jnp.float32)), axis=2)


def project_cond(
  block: FoldedBlock, cond: Float[Array, "b s l"], positions: int, dilation: int
) -> tuple[Float[Array, "b p f"], Float[Array, "b p y"]]:
  """What conditioning adds to a block at several positions, computed at once.

  Args: cond: the block's share of `MAR.condition`, led by as many positions as its first row looks back.
  Returns: for its first row and for its shortcut, in the weights' type: they are kept until the last of the positions
    is drawn."""
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
  """The decoder on w Memcodes in a row; with w = 1 a step of sequential sampling, with more the check of a guess.

  Args: codes: the Memcode before each. cond: `project_cond` at their positions. first: what the older taps of the first
    row contribute. older: (block, row, the row's input here) -> the same for every other row.
  Returns: logits, and by (block, row) the inputs of all rows but the first, to be cached."""
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
