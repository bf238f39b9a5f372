"""MAR: the prior that predicts one Memcode at a time (paper 2.2.2, Table 6). GAP: the order: row by row, a raster."""

from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Int

from nwt_jax.models.causal import CausalConv1D, roll, row_widths
from nwt_jax.models.prior import Prior
from nwt_jax.types import Codes, Logits, Mel, StyleTrack

Cache = tuple[tuple[Float[Array, "b _ _"], ...], ...]  # a linear cache for every row of every block


class MAR(Prior):
  """The Memcode before -> conditioned causal 1-D residual blocks over the raster -> logits of all heads."""

  shortcut_bias: bool

  @property
  def decoder_grid(self) -> tuple[int, int]:
    return self.grid

  @property
  def decoder_width(self) -> int:
    return self.num_heads * self.embed_dim

  @property
  def positions(self) -> int:
    """Memcodes in a frame."""
    return self.grid[0] * self.grid[1]

  @property
  def receptive_field(self) -> int:
    """Memcodes that a prediction sees, counting itself: 3,070 = 13.7 frames at full size."""
    return 1 + sum((kernel - 1) * dilation for block in self.blocks for kernel, dilation, _ in block)

  def setup(self) -> None:
    super().setup()
    self.residual = [self.block(CausalConv1D, rows, self.shortcut_bias, static=(3,)) for rows in self.blocks]

  def arrange(self, condition: Float[Array, "b t i j f"]) -> Float[Array, "b t p f"]:
    return rearrange(condition, "b t i j f -> b t (i j) f")

  def empty_cache(self, batch: int, dtype: Any = jnp.float32) -> Cache:
    """The cache of a clip that has not begun, with room for one frame."""
    return tuple(
      tuple(
        jnp.zeros((batch, (kernel - 1) * dilation + self.positions, width), dtype)
        for (kernel, dilation, _), width in zip(rows, row_widths(self.linear_dim, rows), strict=True)
      )
      for rows in self.blocks
    )

  def next_frame(self, cache: Cache) -> Cache:
    """Rolls the cache once every position of a frame is written."""
    return jax.tree.map(lambda row: roll(row, self.positions), cache)

  def window(
    self,
    cache: Cache | None,
    previous: Int[Array, "b w k"],
    condition: tuple[Float[Array, "b w f"], ...],
    position: int | Int[Array, ""],
  ) -> tuple[Float[Array, "b w k n"], Cache]:
    """Predicts w Memcodes in a row: one in sequential decoding, whole clips in training.

    `generate.mar_reference` samples with it; `generate.mar` with the same weights folded is checked against that.

    Args: cache: past inputs; None starts a clip, whose whole raster is then this window. previous: the Memcode before
      each of the w; code `num_codes` where there is none. condition: `condition` at their positions. position: where
      the window begins, counted from the frame's first position; 0 without a cache.
    Returns: logits [b w k n], and the cache with the window written. Writing a window again overwrites it."""
    return self.decode(cache, self.embed(previous), condition, position)

  def decode(
    self,
    cache: Cache | None,
    x: Float[Array, "b w d"],
    condition: tuple[Float[Array, "b w f"], ...],
    position: int | Int[Array, ""],
  ) -> tuple[Float[Array, "b w k n"], Cache]:
    """`window` on embedded Memcodes."""
    updated = []
    for n, (linear, block) in enumerate(zip(self.linears, self.residual, strict=True)):
      x, caches = block(linear(x, condition[n]), None if cache is None else cache[n], position)
      updated.append(caches)
    return rearrange(self.logits(x), "b w (k n) -> b w k n", k=self.num_heads), tuple(updated)

  def __call__(
    self, codes: Codes, mel: Mel, style: StyleTrack, episode: Int[Array, "b w"], valid: Array | None = None
  ) -> Logits:
    """Teacher-forced logits of whole clips; a Memcode sees those before it in the raster of its clip.

    Args: mel, episode, valid: cover these frames or more, see `condition`."""
    flat = rearrange(codes, "b t i j k -> b (t i j) k")
    previous = jnp.pad(flat[:, :-1], ((0, 0), (1, 0), (0, 0)), constant_values=self.num_codes)
    condition = self.condition(mel, style, episode, valid, codes.shape[1])
    condition = tuple(rearrange(c, "b t p f -> b (t p) f") for c in condition)
    logits, _ = self.window(None, previous, condition, 0)
    return rearrange(logits, "b (t i j) k n -> b t i j k n", i=self.grid[0], j=self.grid[1])
