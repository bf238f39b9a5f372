"""Spatially connected layers: weights of their own at every position, shared over time (paper B.2.1)."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float

from nwt_jax.models.causal import add_bias, mish, time_taps

# Fan-in is one position's patch: the axes of positions do not count. 3.3 and not 2.5 (see for_mish), because on these
# small grids a quarter of the taps reads padding.
for_mish_on_grid = nn.initializers.variance_scaling(3.3, "fan_in", "uniform", batch_axis=(0, 1))


def same_margins(kernel: int, dilation: int = 1) -> tuple[int, int]:
  """Zeros before and after that keep the length. GAP: the paper names no padding: SAME, the odd one goes after."""
  total = (kernel - 1) * dilation
  return total // 2, total - total // 2


def time_margins(kernel: int, dilation: int = 1, causal: bool = False) -> tuple[int, int]:
  """Frames before and after that keep the length. Args: causal: puts all of them before."""
  return ((kernel - 1) * dilation, 0) if causal else same_margins(kernel, dilation)


def keep_valid(x: Float[Array, "b t ..."], valid: Float[Array, "b t"] | Bool[Array, "b t"] | None) -> Array:
  """Zeroes the frames outside the clip, so that a padded window equals SAME padding at the clip's true ends."""
  if valid is None:
    return x
  return x * jnp.expand_dims(valid.astype(x.dtype), range(2, x.ndim))


@functools.partial(jax.checkpoint, static_argnums=(2,))
def spatially_connected(
  x: Float[Array, "b s i j c"], kernel: Float[Array, "i j d f"], shape: tuple[int, int, int]
) -> Float[Array, "b t i j f"]:
  """Patches, then one matrix for each position; VALID in time, SAME in space. Patches are (time, row, column, c)."""
  count, rows, columns = shape
  x = jnp.pad(x, ((0, 0), (0, 0), same_margins(rows), same_margins(columns), (0, 0)))
  i, j = kernel.shape[:2]
  shifted = [x[:, :, p : p + i, q : q + j] for p in range(rows) for q in range(columns)]
  patches = time_taps(jnp.concatenate(shifted, axis=-1), count, 1, x.shape[1] - count + 1, 0)
  return jnp.einsum("btijd,ijdf->btijf", patches, kernel)


class SpatiallyConnected(nn.Module):
  """SC3D, the spatially connected layer of Tables 5-6, without its activation.

  GAP: the paper does not say how biases are shared; a filter has one for all positions."""

  kernel: tuple[int, int, int]  # frames, rows, columns
  features: int
  causal: bool = False  # in time

  @nn.compact
  def __call__(self, x: Float[Array, "b t i j c"], endless: bool = False) -> Float[Array, "b t i j f"]:
    """Args: endless: x goes on as its first and last frame outside the clip, instead of as zeros."""
    depth = self.kernel[0] * self.kernel[1] * self.kernel[2] * x.shape[-1]
    kernel = self.param("kernel", for_mish_on_grid, (*x.shape[2:4], depth, self.features))
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    margins = ((0, 0), time_margins(self.kernel[0], 1, self.causal), (0, 0), (0, 0), (0, 0))
    x = jnp.pad(x, margins, mode="edge" if endless else "constant")
    return add_bias(spatially_connected(x, kernel, self.kernel), bias)


def upsample(x: Float[Array, "b t i j c"], scale: int) -> Float[Array, "b t u v c"]:
  """Nearest-neighbour upsampling of the last two axes before the channels."""
  return jnp.repeat(jnp.repeat(x, scale, axis=2), scale, axis=3)


class Tower(nn.Module):
  """From a vector a frame to a grid: stages of nearest-neighbour doubling and SC3D layers with Mish (B.2.1)."""

  stages: tuple[tuple[int, int], ...]  # (SC3D layers, features) at 2 x 2, 4 x 4, ...
  kernel: tuple[int, int, int]
  grid: tuple[int, int]  # the last grid is cropped to it before the last layer
  causal: bool = False  # in time

  @nn.compact
  def __call__(
    self, x: Float[Array, "b t c"], valid: Array | None = None, endless: bool = False
  ) -> Float[Array, "b t i j f"]:
    x = rearrange(x, "b t c -> b t 1 1 c")
    for stage, (layers, features) in enumerate(self.stages):
      x = upsample(x, 2)
      for layer in range(layers):
        if stage == len(self.stages) - 1 and layer == layers - 1:
          x = x[:, :, : self.grid[0], : self.grid[1]]
        x = mish(SpatiallyConnected(self.kernel, features, self.causal, name=f"stage{stage}_{layer}")(x, endless))
        x = keep_valid(x, valid)
    return x
