"""Critics: patch adversaries whose feature maps also carry the reconstruction loss (B.1.4, Table 4b)."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from nwt_jax.models.blocks import Conv, leaky_relu
from nwt_jax.types import Video

Layer = tuple[tuple[int, int, int], int, int, int]  # kernel (frames, rows, columns), stride in space, groups, features


class Critic(nn.Module):
  """One critic: convolutions, each map kept, then a linear score for every patch."""

  layers: tuple[Layer, ...]

  @nn.compact
  def __call__(self, video: Video) -> tuple[Float[Array, "b"], tuple[Array, ...]]:
    """Returns: the mean score of each clip's patches, and every hidden feature map.

    GAP: eq. 6 and 9 speak of one score D_c(x); for a patch critic it is the mean over patches and frames.
    """
    x, features = video, []
    for index, (kernel, stride, groups, width) in enumerate(self.layers):
      x = leaky_relu(Conv(width, tuple(kernel), stride, groups, name=f"conv{index}")(x))
      features.append(x)
    score = Conv(1, (1, 1, 1), gain=1.0, name="score")(x)
    return jnp.mean(score, axis=(1, 2, 3, 4)), tuple(features)


class Critics(nn.Module):
  """The set S_c: each critic sees the same clip with strides and fields of its own."""

  critics: tuple[tuple[Layer, ...], ...]

  @nn.compact
  def __call__(self, video: Video) -> tuple[tuple[Array, ...], tuple[tuple[Array, ...], ...]]:
    """Returns: scores [b] and feature maps, one entry a critic."""
    results = [Critic(layers, name=f"critic{index}")(video) for index, layers in enumerate(self.critics)]
    return tuple(score for score, _ in results), tuple(features for _, features in results)


def receptive_field(layers: tuple[Layer, ...]) -> tuple[int, int]:
  """Pixels and frames that one patch score sees."""
  pixels, frames, jump = 1, 1, 1
  for (kernel_t, kernel_y, _), stride, _, _ in layers:
    pixels, frames, jump = pixels + (kernel_y - 1) * jump, frames + kernel_t - 1, jump * stride
  return pixels, frames
