"""MAR decoding: one step a Memcode, in raster order, or several at once, with the same result (paper 2.2.2, B.2.3).

Positions are grouped in tiles (`generate.mar_tiles`; `generate.options` chooses their size), and tiles in segments.
Conditioning and noise do not depend on Memcodes and are computed for a whole segment before its first tile.
`generate.mar_reference` is the plain sampler that gives the same.
"""

from typing import Any, no_type_check

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt8

from nwt_jax.generate import mar_weights
from nwt_jax.generate.mar_tiles import (
  TILE,
  cached_convs,
  early_groups,
  make_tile,
  sample_jacobi,
  sample_sequential,
  segment_length,
  tile_size,
)
from nwt_jax.generate.mar_weights import FoldedWeights
from nwt_jax.generate.noise import frame_noise
from nwt_jax.models.mar import MAR


@no_type_check  # in a tree of shapes or specs the leaves are no arrays
@struct.dataclass
class MARState:
  """The state of sampling between two chunks: for b clips, s segments of p positions, tiles of w positions.

  recent: the Memcodes that the first convolution reads at the next position. frame: the last Memcode at each position,
  which is the guess for the next frame. cond: per block, conditioning of the last `look_back` positions of its first
  convolution. caches: per convolution of `mar_tiles.cached_convs`, a ring buffer of its inputs in the last n tiles.
  tile: number of the next tile. num_evals: evaluations of the decoder so far."""

  recent: Int[Array, "b r k"]
  frame: Int[Array, "b s p k"]
  cond: tuple[Float[Array, "b r l"], ...]
  caches: tuple[Float[Array, "b n w c"], ...]
  tile: Int[Array, ""]
  num_evals: Int[Array, ""]


def fold(model: MAR, params: Any, dtype: Any = None, most: int = TILE) -> FoldedWeights:
  """Computes the weights that sampling reads, once for a loaded model.

  Args: params, dtype: see `mar_weights.fold`. most: see `init_state`, which must get the same.
  Raises: ValueError: a convolution has a kernel of 1 and so reads no earlier position."""
  if any(conv.look_back == 0 for conv in cached_convs(model)) or model.blocks[0][0][0] == 1:
    raise ValueError(f"MAR samples with kernels of 2 and more; its rows are {model.blocks}")
  weights, early = mar_weights.fold(model, params, dtype), []
  blocks = [list(block.rows) for block in weights.blocks]
  for group in early_groups(model, tile_size(model, most)):
    early.append(jnp.stack([blocks[conv.block][conv.row].older for conv in group]))
    for conv in group:
      blocks[conv.block][conv.row] = blocks[conv.block][conv.row].replace(older=None)
  blocks = (block.replace(rows=tuple(rows)) for block, rows in zip(weights.blocks, blocks, strict=True))
  return weights.replace(blocks=tuple(blocks), early=tuple(early))


def init_state(model: MAR, batch: int, dtype: Any = jnp.float32, most: int = TILE) -> MARState:
  """Returns the state of clips that have not begun.

  Args: batch: number of clips. dtype: that of the folded weights. most: positions in a tile, at most; it changes speed
    and memory alone.
  """
  size = tile_size(model, most)
  length, look_back = segment_length(model, size), [(rows[0][0] - 1) * rows[0][1] for rows in model.blocks]
  # Before a clip there is nothing; its first Memcode follows "empty".
  recent = jnp.full((batch, look_back[0] + 1, model.num_heads), model.num_codes + 1, jnp.int32)
  return MARState(
    recent=recent.at[:, -1].set(model.num_codes),
    frame=jnp.zeros((batch, model.positions // length, length, model.num_heads), jnp.int32),
    cond=tuple(jnp.zeros((batch, count, model.linear_dim), dtype) for count in look_back),
    caches=tuple(
      jnp.zeros((batch, -(-conv.look_back // size), size, conv.width), dtype) for conv in cached_convs(model)
    ),
    tile=jnp.int32(0),
    num_evals=jnp.int32(0),
  )


def sample_chunk(
  model: MAR,
  weights: FoldedWeights,
  state: MARState,
  condition: tuple[Float[Array, "b t p f"], ...],
  keys: Key[Array, " b"],
  first_frame: int | Int[Array, ""],
  temperature: float | Float[Array, ""] = 1.0,
  parallel: bool = True,
) -> tuple[UInt8[Array, "b t i j k"], MARState]:
  """Samples the next frames. Chunks in a row give what one call gives.

  Args: weights: `fold` of the model's variables, for tiles of the state's size. condition: `MAR.condition` of these
    frames. keys: one per clip. first_frame: index of the chunk's first frame in its clip. temperature: 0 takes the most
    likely codes. parallel: whether the Memcodes of a tile are drawn together (`sample_jacobi`), with those of the frame
    before as the guess, or one after the other (`sample_sequential`).
  Returns: codes [b t i j k], and the state after them.
  Raises: ValueError: weights and state for tiles of different sizes."""
  size, length = state.caches[0].shape[2], state.frame.shape[2]
  parts, shape = model.positions // length, (*model.grid, model.num_heads, model.num_codes)
  if [len(group) for group in early_groups(model, size)] != [len(kernels) for kernels in weights.early]:
    raise ValueError(f"the state is for tiles of {size} positions, the weights for others; give both the same `most`")

  def tile(state, inputs):
    cond, noise, guess = inputs
    noise = rearrange(noise, "b w (k n) -> b w k n", k=model.num_heads)
    task = make_tile(model, weights, state.recent, state.caches, state.tile, cond, noise, temperature)
    solve = sample_jacobi(model, weights, task, guess) if parallel else sample_sequential(model, weights, task)
    codes, entered, evaluations = solve
    caches = tuple(
      lax.dynamic_update_index_in_dim(ring, x, state.tile % ring.shape[1], axis=1)
      for ring, x in zip(state.caches, entered, strict=True)
    )
    recent = jnp.concatenate([state.recent, codes], axis=1)[:, size:]
    num_evals = state.num_evals + evaluations
    return state.replace(recent=recent, caches=caches, tile=state.tile + 1, num_evals=num_evals), codes

  def segment(state, inputs):
    number, cond = inputs  # conditioning and noise of all tiles of a segment are computed before them, in bulk
    frame, part = first_frame + number // parts, number % parts
    cond = [jnp.concatenate([old, new.astype(old.dtype)], axis=1) for old, new in zip(state.cond, cond, strict=True)]
    projected = tuple(
      mar_weights.project_cond(*args, length, rows[0][1])
      for *args, rows in zip(weights.blocks, cond, model.blocks, strict=True)
    )
    noise = rearrange(frame_noise(keys, frame, shape), "b i j k n -> b (i j) (k n)")
    noise = lax.dynamic_slice_in_dim(noise, part * length, length, axis=1)
    guess = lax.dynamic_index_in_dim(state.frame, part, axis=1, keepdims=False)
    by_tile = jax.tree.map(lambda x: rearrange(x, "b (s w) f -> s b w f", w=size), (projected, noise, guess))
    state, codes = lax.scan(tile, state, by_tile)
    codes = rearrange(codes, "s b w k -> b (s w) k")
    state = state.replace(
      cond=tuple(c[:, length:] for c in cond),
      frame=lax.dynamic_update_index_in_dim(state.frame, codes, part, axis=1),
    )
    return state, codes.astype(jnp.uint8)

  by_segment = tuple(rearrange(c, "b t (s w) f -> (t s) b w f", w=length) for c in condition)
  state, codes = lax.scan(segment, state, (jnp.arange(len(by_segment[0])), by_segment))
  codes = rearrange(codes, "(t s) b w k -> b t (s w) k", s=parts)
  return rearrange(codes, "b t (i j) k -> b t i j k", i=model.grid[0]), state
