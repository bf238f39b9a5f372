"""Critics: patch adversaries whose feature maps also carry the reconstruction loss (B.1.4, Table 4b)."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from nwt_jax.models.blocks import Conv, leaky_relu
from nwt_jax.types import Video

Layer = tuple[tuple[int, int, int], int, int, int]  # kernel (frames, rows, columns), stride in space, groups, features


class CriticOutput(NamedTuple):
  """The outputs of critics for clips, one entry per critic.

  scores: [b]. features: every hidden feature map; the last one is the penultimate layer. classes: logits [b n] of the
    second output layer (A.2), on the same penultimate layer; None where the critics have no such layer.
  """

  scores: tuple[Float[Array, "b"], ...]
  features: tuple[tuple[Array, ...], ...]
  classes: tuple[Float[Array, "b n"] | None, ...]


class Critic(nn.Module):
  """One critic: convolutions, each map kept, then a linear score for every patch."""

  layers: tuple[Layer, ...]
  num_classes: int

  @nn.compact
  def __call__(self, video: Video) -> tuple[Float[Array, "b"], tuple[Array, ...], Float[Array, "b n"] | None]:
    """Returns: the mean score of each clip's patches, every hidden feature map, and class logits.

    GAP: eq. 6 and 9 speak of one score D_c(x); for a patch critic it is the mean over patches and frames. GAP: feature
    maps are taken after their activations.
    """
    x, features = video, []
    for index, (kernel, stride, groups, width) in enumerate(self.layers):
      x = leaky_relu(Conv(width, tuple(kernel), stride, groups, name=f"conv{index}")(x))
      features.append(x)
    patches = Conv(1, (1, 1, 1), gain=1.0, name="score")(x)
    score = jnp.mean(patches, axis=(1, 2, 3, 4), dtype=jnp.promote_types(x.dtype, jnp.float32))
    if not self.num_classes:
      return score, tuple(features), None
    classes = jnp.mean(Conv(self.num_classes, (1, 1, 1), gain=1.0, name="classes")(x), axis=(1, 2, 3))
    return score, tuple(features), classes


class Critics(nn.Module):
  """The set S_c: each critic sees the same clip with strides and fields of its own."""

  critics: tuple[tuple[Layer, ...], ...]
  num_classes: int  # of the second output layer of dVAE-Class (A.2); 0: none

  @nn.compact
  def __call__(self, video: Video) -> CriticOutput:
    results = [Critic(layers, self.num_classes, name=f"critic{i}")(video) for i, layers in enumerate(self.critics)]
    return CriticOutput(*(tuple(part) for part in zip(*results, strict=True)))


def receptive_field(layers: tuple[Layer, ...]) -> tuple[int, int]:
  """Pixels and frames that one patch score sees."""
  pixels, frames, jump = 1, 1, 1
  for (kernel_t, kernel_y, _), stride, _, _ in layers:
    pixels, frames, jump = pixels + (kernel_y - 1) * jump, frames + kernel_t - 1, jump * stride
  return pixels, frames
