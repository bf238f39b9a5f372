"""FAR: the prior that predicts a whole frame of Memcodes at a time (paper 2.2.2, Table 5)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct
from jaxtyping import Array, Float, Int

from nwt_jax.models.blocks import merge_taps, upsampled_conv
from nwt_jax.models.causal import CausalConv3D, add_bias, conv_frames, for_mish, mish, row_widths
from nwt_jax.models.prior import Prior
from nwt_jax.types import Codes, Logits, Mel, StyleTrack

Cache = tuple[tuple[Float[Array, "b _ u v _"], ...], ...]  # past inputs of every row of every block


@struct.dataclass
class Folded:
  """Kernels and biases on the way down and up, in the form in which frames are predicted."""

  down: Any  # ((kernel [y x c o], bias [o]), ...); the first kernel reads one-hot codes
  up: Any  # ((blocks.Phases, bias [o]), ...)


class Convolution(nn.Module):
  """The parameters of a 2-D convolution, for those who compute it in another form."""

  shape: tuple[int, int, int, int]  # of the kernel

  @nn.compact
  def __call__(self) -> tuple[Float[Array, "y x c o"], Float[Array, " o"]]:
    return self.param("kernel", for_mish, self.shape), self.param("bias", nn.initializers.zeros, self.shape[-1:])


class FAR(Prior):
  """Frame before -> strided convolutions -> conditioned causal 3-D residual blocks -> upsampling -> logits."""

  # PAPER: C.2.2 pads 16 x 14 to 16 x 16. GAP: below and to the right, with no part in the loss
  padded: tuple[int, int]
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
    """Frames that a prediction sees, counting itself: 29 at full size. DEPARTS: C.2.2 says "do not exceed 27"."""
    return 1 + sum((kernel[0] - 1) * dilation for block in self.blocks for kernel, dilation, _ in block)

  def setup(self) -> None:
    super().setup()
    self.downs = self.convolutions(self.num_heads * self.embed_dim, self.down)
    self.residual = [self.block(CausalConv3D, rows, True) for rows in self.blocks]
    self.ups = self.convolutions(self.blocks[-1][-1][-1], self.up)

  def convolutions(self, width: int, rows: tuple[tuple[int, int, int], ...]) -> list[Convolution]:
    """The convolutions of `down` or `up`. Args: width: that of the first's input."""
    inputs = (width, *(features for _, _, features in rows[:-1]))
    return [Convolution((k, k, c, features)) for c, (k, _, features) in zip(inputs, rows, strict=True)]

  def empty_cache(self, batch: int, dtype: Any = jnp.float32) -> Cache:
    """The cache of a clip that has not begun."""
    return tuple(
      tuple(
        jnp.zeros((batch, (kernel[0] - 1) * dilation, *self.decoder_grid, width), dtype)
        for (kernel, dilation, _), width in zip(rows, row_widths(self.linear_dim, rows), strict=True)
      )
      for rows in self.blocks
    )

  def fold(self) -> Folded:
    """Computes once the weights with which any number of frames is predicted.

    The embedding is linear in one-hot codes, and the first convolution linear in the embedding: together they are one
    convolution of num_heads * num_codes instead of num_heads * embed_dim features. Upsampling follows its convolution
    instead of going before it (`merge_taps`). Both are exact."""
    table = self.embed(jnp.arange(self.num_codes + self.learned_empty)[:, None])
    (kernel, bias), *others = [convolution() for convolution in self.downs]
    kernel = rearrange(kernel, "y x (k d) o -> y x k d o", k=self.num_heads)
    first = jnp.einsum("yxkdo,nd->yxkno", kernel, table, precision="highest")
    first = rearrange(first, "y x k n o -> y x (k n) o")
    ups = [convolution() for convolution in self.ups]
    merged = [merge_taps(kernel, scale) for (kernel, _), (_, scale, _) in zip(ups, self.up, strict=True)]
    return Folded(
      ((first, bias), *others), tuple((phases, bias) for phases, (_, bias) in zip(merged, ups, strict=True))
    )

  def frame(
    self, folded: Folded, previous: Codes, condition: tuple[Float[Array, "b t u v f"], ...], cache: Cache | None
  ) -> tuple[Logits, Cache]:
    """Predicts any number of frames, each from the frame before it and those before in `cache`.

    Args: folded: the result of `fold`. previous: codes of the frames before, [b t i j k]; code `num_codes` where there
      is none. condition: their part of `condition`. cache: None starts a clip.
    Returns: logits of the frames [b t i j k n], and the cache after them."""
    rows, columns = (pad - size for pad, size in zip(self.padded, self.grid, strict=True))
    margins = ((0, 0), (0, 0), (0, rows), (0, columns), (0, 0))
    codes = jnp.pad(previous, margins, constant_values=self.num_codes)
    onehot = jax.nn.one_hot(codes, self.num_codes + self.learned_empty, dtype=folded.down[0][0].dtype)
    return self.decode(folded, rearrange(onehot, "b t h w k n -> b t h w (k n)"), condition, cache)

  def decode(
    self,
    folded: Folded,
    x: Float[Array, "b t h w d"],
    condition: tuple[Float[Array, "b t u v f"], ...],
    cache: Cache | None,
  ) -> tuple[Logits, Cache]:
    """`frame` on one-hot, padded previous frames."""
    for (kernel, bias), (_, stride, _) in zip(folded.down, self.down, strict=True):
      x = mish(add_bias(conv_frames(x, kernel[None], 1, stride), bias))
    updated = []
    for n, (linear, block) in enumerate(zip(self.linears, self.residual, strict=True)):
      x, caches = block(linear(x, condition[n]), None if cache is None else cache[n])
      updated.append(caches)
    for (phases, bias), (size, _, _) in zip(folded.up, self.up, strict=True):
      x = mish(add_bias(upsampled_conv(x, phases, size), bias))
    logits = self.logits(x[:, :, : self.grid[0], : self.grid[1]])
    return rearrange(logits, "b t i j (k n) -> b t i j k n", k=self.num_heads), tuple(updated)

  def __call__(
    self, codes: Codes, mel: Mel, style: StyleTrack, episode: Int[Array, "b w"], valid: Array | None = None
  ) -> Logits:
    """Teacher-forced logits of whole clips; frame t sees the codes of frames before t.

    Args: mel, episode, valid: cover these frames or more, see `condition`."""
    previous = jnp.pad(codes[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)), constant_values=self.num_codes)
    condition = self.condition(mel, style, episode, valid, codes.shape[1])
    return self.frame(self.fold(), previous, condition, None)[0]
