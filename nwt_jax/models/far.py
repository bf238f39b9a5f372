"""FAR: the prior that predicts a whole frame of Memcodes at a time (paper 2.2.2, Table 5)."""

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from nwt_jax.models.causal import CausalConv3D, for_mish, mish, row_widths
from nwt_jax.models.prior import Prior
from nwt_jax.models.spatial import upsample
from nwt_jax.types import Codes, Episode, Logits, Mel, StyleTrack

Cache = tuple[tuple[Float[Array, "b _ u v _"], ...], ...]  # past inputs of every row of every block


class FAR(Prior):
  """Frame before -> strided convolutions -> conditioned causal 3-D residual blocks -> upsampling -> logits."""

  padded: tuple[int, int]  # PAPER: C.2.2 pads 16 x 14 to 16 x 16. GAP: below and to the right
  down: tuple[tuple[int, int, int], ...]  # (kernel, stride, features)
  up: tuple[tuple[int, int, int], ...]  # (kernel, nearest-neighbour scale before the convolution, features)

  @property
  def decoder_grid(self) -> tuple[int, int]:
    rows, columns = self.padded
    for _, stride, _ in self.down:
      rows, columns = -(-rows // stride), -(-columns // stride)
    return rows, columns

  @property
  def decoder_width(self) -> int:
    return self.down[-1][2]

  @property
  def receptive_field(self) -> int:
    """Frames that a prediction sees, counting itself: 29 at full size. (C.2.2 says "do not exceed 27".)"""
    return 1 + sum((kernel[0] - 1) * dilation for block in self.blocks for kernel, dilation, _ in block)

  def setup(self):
    super().setup()
    self.downs = [nn.Conv(features, (k, k), (s, s), kernel_init=for_mish) for k, s, features in self.down]
    self.residual = [self.block(CausalConv3D, rows, True) for rows in self.blocks]
    self.ups = [nn.Conv(features, (k, k), kernel_init=for_mish) for k, _, features in self.up]

  def empty_cache(self, batch: int, dtype=jnp.float32) -> Cache:
    """The cache of a clip that has not begun."""
    return tuple(
      tuple(
        jnp.zeros((batch, (kernel[0] - 1) * dilation, *self.decoder_grid, width), dtype)
        for (kernel, dilation, _), width in zip(rows, row_widths(self.linear_dim, rows), strict=True)
      )
      for rows in self.blocks
    )

  def frame(
    self, previous: Codes, condition: tuple[Float[Array, "b t u v f"], ...], cache: Cache | None
  ) -> tuple[Logits, Cache]:
    """Predicts any number of frames, each from the frame before it and the past in `cache`.

    Args: previous: codes of the frames before, [b t i j k]; code `num_codes` where there is none. condition: their part
      of `condition`. cache: None starts a clip.
    Returns: logits of the frames [b t i j k n], and the cache after them."""
    rows, columns = (pad - size for pad, size in zip(self.padded, self.grid, strict=True))
    margins = ((0, 0), (0, 0), (0, rows), (0, columns), (0, 0))
    x = self.embed(jnp.pad(previous, margins, constant_values=self.num_codes))
    return self.decode(x, condition, cache)

  def decode(
    self, x: Float[Array, "b t h w d"], condition: tuple[Float[Array, "b t u v f"], ...], cache: Cache | None
  ) -> tuple[Logits, Cache]:
    """`frame` on embedded, padded previous frames."""
    for conv in self.downs:
      x = mish(conv(x))
    kept = []
    for n, (linear, block) in enumerate(zip(self.linears, self.residual, strict=True)):
      x, past = block(linear(x, condition[n]), None if cache is None else cache[n])
      kept.append(past)
    for conv, (_, scale, _) in zip(self.ups, self.up, strict=True):
      x = mish(conv(upsample(x, scale)))
    logits = self.logits(x[:, :, : self.grid[0], : self.grid[1]])
    return rearrange(logits, "b t i j (k n) -> b t i j k n", k=self.num_heads), tuple(kept)

  def __call__(self, codes: Codes, mel: Mel, style: StyleTrack, episode: Episode, valid=None) -> Logits:
    """Teacher-forced logits of whole clips; frame t sees the codes of frames before t."""
    previous = jnp.pad(codes[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)), constant_values=self.num_codes)
    return self.frame(previous, self.condition(mel, style, episode, valid), None)[0]
