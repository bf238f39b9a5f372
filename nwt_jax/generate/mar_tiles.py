"""A tile of MAR: consecutive positions whose Memcodes are drawn one after the other, or all at once by fixed point.

With dilation d, all taps of a convolution but the newest read inputs at least d positions old. For a tile of at most d
positions they can therefore be computed before the tile, in one matrix product; only the newest tap is sequential.

The two solvers give the same Memcodes. With the noise fixed by position, z_t = argmax(logits(z_<t) + noise_t) has one
solution, the sequential sample: `sample_sequential` computes it position by position, `sample_jacobi` resamples all
positions from a guess until a fixed point (predictive sampling, Wiggers & Hoogeboom 2020; Jacobi decoding, Song et al.
2021).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from nwt_jax.generate import mar_weights
from nwt_jax.generate.mar_weights import FoldedWeights
from nwt_jax.generate.noise import draw
from nwt_jax.models.causal import time_taps
from nwt_jax.models.mar import MAR

TILE = 8  # positions in a tile, at most, unless a caller gives `most` (generate/options.py)
SEGMENT = 64  # positions in a segment, at most, if no tile is longer


class CachedConv(NamedTuple):
  """A convolution whose past inputs are cached: a row of a residual block.

  look_back: number of positions from its oldest tap to its newest. width: number of channels of its inputs."""

  block: int
  row: int
  dilation: int
  look_back: int
  width: int


Contributions = dict[CachedConv, Float[Array, "b w f"]]
Inputs = list[Float[Array, "b w c"]]  # of every cached convolution, in the order of `cached_convs`
Solution = tuple[Int[Array, "b w k"], Inputs, int | Int[Array, ""]]  # Memcodes, inputs, evaluations of the decoder


def cached_convs(model: MAR) -> list[CachedConv]:
  """All convolutions but the first, which reads Memcodes. The first of a later block caches the block's inputs."""
  found, width = [], 0
  for block, rows in enumerate(model.blocks):
    for row, (kernel, dilation, features) in enumerate(rows):
      found.append(CachedConv(block, row, dilation, (kernel - 1) * dilation, width))
      width = features
  return found[1:]


def tile_size(model: MAR, most: int = TILE) -> int:
  """Returns how many positions a tile has: the largest number up to `most` that divides the positions of a frame."""
  return max(size for size in range(1, most + 1) if model.positions % size == 0)


def segment_length(model: MAR, size: int) -> int:
  """Returns how many positions a segment has: whole tiles that divide a frame, up to SEGMENT positions.

  The conditioning of a segment is projected at once; longer segments would not be faster, and would take more memory.

  Args: size: number of positions in a tile."""
  return max(n for n in range(size, max(SEGMENT, size) + 1, size) if model.positions % n == 0)


def early_groups(model: MAR, size: int) -> list[list[CachedConv]]:
  """Returns the convolutions whose older taps can be computed before a tile begins: those whose dilation is at least
  the tile's size. Convolutions of one shape form a group, which is one matrix product."""
  found: dict[tuple, list[CachedConv]] = {}
  for conv in cached_convs(model):
    if conv.dilation >= size:
      features = model.blocks[conv.block][conv.row][2]
      found.setdefault((conv.look_back // conv.dilation * conv.width, features), []).append(conv)
  return list(found.values())


class Tile(NamedTuple):
  """All that the Memcodes of a tile depend on.

  recent: the Memcodes before the tile. cond: `mar_weights.project_cond` at its positions. noise: Gumbel noise. early:
  summed contribution of the older taps, for each convolution whose dilation is at least the tile's size, so that the
  inputs of these taps all precede the tile. tails: for every other convolution, its last `look_back` cached inputs."""

  recent: Int[Array, "b r k"]
  cond: tuple[tuple[Array, Array], ...]
  noise: Float[Array, "b w k n"]
  temperature: float | Float[Array, ""]
  early: Contributions
  tails: dict[CachedConv, Float[Array, "b l c"]]

  @property
  def size(self) -> int:
    return self.noise.shape[1]


def make_tile(
  model: MAR,
  weights: FoldedWeights,
  recent: Int[Array, "b r k"],
  caches: tuple[Float[Array, "b _ w _"], ...],
  number: Int[Array, ""],
  cond: tuple[tuple[Array, Array], ...],
  noise: Float[Array, "b w k n"],
  temperature: float | Float[Array, ""],
) -> Tile:
  """Reads the caches and computes all that can be computed before the first Memcode of a tile.

  Args: caches: `MARState.caches`. number: the tile's number, counted from the clip's start. The others are as in
    `Tile`."""
  size = noise.shape[1]
  cache = dict(zip(cached_convs(model), caches, strict=True))
  early: Contributions = {}
  for group, kernels in zip(early_groups(model, size), weights.early, strict=True):
    taps = [
      jnp.concatenate(
        [read_cache(cache[conv], number, back, size) for back in range(conv.look_back, 0, -conv.dilation)], axis=-1
      )
      for conv in group
    ]
    exact = jnp.promote_types(kernels.dtype, jnp.float32)
    summed = jnp.einsum("gbwc,gcf->gbwf", jnp.stack(taps), kernels, preferred_element_type=exact)
    early |= dict(zip(group, summed, strict=True))
  tails = {
    conv: read_cache(ring, number, conv.look_back, conv.look_back) for conv, ring in cache.items() if conv not in early
  }
  return Tile(recent, cond, noise, temperature, early, tails)


def read_cache(ring: Float[Array, "b n w c"], tile: Int[Array, ""], back: int, length: int) -> Float[Array, "b l c"]:
  """Returns a convolution's inputs at `length` consecutive positions, the first of them `back` positions before `tile`.

  Args: ring: a cache of n tiles of w positions, in which tile m lies at index m modulo n. It is read tile by tile, so
    that no read crosses the ring's end."""
  size = ring.shape[2]
  first, skip = divmod(-back, size)
  last = (-back + length - 1) // size
  tiles = [
    lax.dynamic_index_in_dim(ring, (tile + n) % ring.shape[1], 1, keepdims=False) for n in range(first, last + 1)
  ]
  return jnp.concatenate(tiles, axis=1)[:, skip : skip + length]


def older_taps(weights: FoldedWeights, conv: CachedConv, inputs: Array, start: int, length: int) -> Array:
  """Returns the sum of a convolution's older taps at `length` positions.

  Args: start: index in `inputs` of the oldest tap for the first of these positions."""
  row = weights.blocks[conv.block].rows[conv.row]
  taps = time_taps(inputs, conv.look_back // conv.dilation, conv.dilation, length, start)
  return mar_weights.product(taps, row.older)


def older_codes(
  model: MAR, weights: FoldedWeights, codes: Int[Array, "b r k"], start: int, length: int
) -> Float[Array, "b w f"]:
  """Returns the same as `older_taps` for the first convolution, which reads Memcodes by lookup tables."""
  (_, dilation, _), *_ = model.blocks[0]
  tables = weights.blocks[0].rows[0].older
  return sum(mar_weights.lookup(t, codes[:, start + n * dilation :][:, :length]) for n, t in enumerate(tables))  # ty: ignore[invalid-explicit-return]


def _draw(
  model: MAR, weights: FoldedWeights, tile: Tile, known, start: int, length: int, older
) -> tuple[Int[Array, "b w k"], dict]:
  """Draws `length` Memcodes of a tile, the first at position `start`.

  Args: known: the Memcodes before the tile and in it, up to the one before the last that is drawn. older: (block, row,
    input) -> the sum of the older taps, for all convolutions but the first.
  Returns: the Memcodes, and the input of each convolution by (block, row)."""
  at = slice(start, start + length)
  cond = jax.tree.map(lambda c: c[:, at], tile.cond)
  first = older_codes(model, weights, known, start, length)
  logits, inputs = mar_weights.window(weights, known[:, -length:], cond, first, older)
  logits = rearrange(logits, "b w (k n) -> b w k n", k=model.num_heads)
  return draw(logits, tile.noise[:, at], tile.temperature).astype(jnp.int32), inputs


def sample_sequential(model: MAR, weights: FoldedWeights, tile: Tile) -> Solution:
  """Draws the Memcodes of a tile one after the other; the decoder is evaluated once a position."""
  convs, known = cached_convs(model), tile.recent
  seen: dict[CachedConv, list] = {conv: [] for conv in convs}
  ahead: Contributions = {}  # older taps of the next `dilation` positions: their inputs are there
  for step in range(tile.size):
    for conv, tail in tile.tails.items():
      if step % conv.dilation == 0:
        inputs = jnp.concatenate([tail, *seen[conv]], axis=1)
        ahead[conv] = older_taps(weights, conv, inputs, step, min(conv.dilation, tile.size - step))
    now = {(conv.block, conv.row): early[:, step : step + 1] for conv, early in tile.early.items()}
    now |= {(conv.block, conv.row): near[:, step % conv.dilation][:, None] for conv, near in ahead.items()}
    codes, inputs = _draw(model, weights, tile, known, step, 1, lambda block, row, _, now=now: now[block, row])
    known = jnp.concatenate([known, codes], axis=1)
    seen = {conv: [*seen[conv], inputs[conv.block, conv.row]] for conv in convs}
  return known[:, -tile.size :], [jnp.concatenate(seen[conv], axis=1) for conv in convs], tile.size


def sample_jacobi(model: MAR, weights: FoldedWeights, tile: Tile, guess: Int[Array, "b w k"]) -> Solution:
  """Draws all Memcodes of a tile at once from a guess, and again from the result, until the result no longer changes.

  After n evaluations at least the first n Memcodes are those of `sample_sequential`, so that the loop ends after at
  most as many evaluations as the tile has positions."""
  convs = {(conv.block, conv.row): conv for conv in cached_convs(model)}

  def older(block, row, x):
    conv = convs[block, row]
    if conv in tile.early:
      return tile.early[conv]
    return older_taps(weights, conv, jnp.concatenate([tile.tails[conv], x], axis=1), 0, tile.size)

  def resample(guess: Int[Array, "b w k"]) -> tuple[Int[Array, "b w k"], Bool[Array, ""], Inputs]:
    known = jnp.concatenate([tile.recent, guess[:, :-1]], axis=1)
    codes, inputs = _draw(model, weights, tile, known, 0, tile.size, older)
    return codes, jnp.all(codes[:, :-1] == guess[:, :-1]), [inputs[name] for name in convs]

  none = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(resample, guess)[2])
  start = guess, jnp.bool(False), none, jnp.int32(0)
  unsolved = lambda carry: ~carry[1] & (carry[3] < tile.size)
  codes, _, inputs, evaluations = lax.while_loop(unsolved, lambda carry: (*resample(carry[0]), carry[3] + 1), start)
  return codes, inputs, evaluations
