"""Causal dilated convolutions whose cache is an argument: over frames for FAR, over Memcodes for MAR (paper B.2.3).

A convolution over time is one contraction: its taps are shifted slices of one array, side by side in the channel axis.
`rhs_dilation` is for CPU alone, and there for whole clips: XLA:GPU turns its gradients into convolutions as wide as the
clip.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax
from jaxtyping import Array, Float

from nwt_jax.models.blocks import few

# GAP: initialisation. Mish keeps 0.36 (small signals) to 0.5 (large ones) of the mean square, 0.4 near 0.5: variance
# 2.5 / fan-in. He's 2 lets audio fade to a fifteenth on its way to the decoder. Uniform draws compile faster.
for_mish = nn.initializers.variance_scaling(2.5, "fan_in", "uniform")


def mish(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """x tanh(softplus(x)) with one exponential: tanh(log(1 + u)) = u (u + 2) / (u (u + 2) + 2), u = exp(x)."""
  u = jnp.exp(jnp.minimum(x, 20.0))  # above 20 the quotient is 1 to double precision
  n = u * (u + 2)
  return x * (n / (n + 2))


def add_bias(x: Float[Array, "..."], bias: Float[Array, " f"]) -> Float[Array, "..."]:
  return x + jnp.expand_dims(bias, range(x.ndim - 1))


def time_taps(x: Float[Array, "b t ..."], count: int, dilation: int, length: int, start: int | Array) -> Array:
  """Lays `count` slices of x, each `length` long and `dilation` apart, side by side in the channel axis.

  Args: x: [b t ... c]. start: where the first (oldest) slice begins; an int for a static slice.
  Returns: [b length ... count*c], oldest tap first.
  """
  if isinstance(start, int):
    slices = [lax.slice_in_dim(x, start + n * dilation, start + n * dilation + length, axis=1) for n in range(count)]
  else:
    slices = [lax.dynamic_slice_in_dim(x, start + n * dilation, length, axis=1) for n in range(count)]
  return jnp.concatenate(slices, axis=-1)


# Checkpointed: the gradient keeps x alone, not its `count` shifted copies.
@functools.partial(jax.checkpoint, static_argnums=(2, 3))
def conv_memcodes(
  x: Float[Array, "b s c"], kernel: Float[Array, "a c f"], dilation: int, length: int, start: int | Array
) -> Float[Array, "b t f"]:
  """1-D convolution of `length` outputs; output n reads x at start + n, start + n + dilation, ...

  Of all of x, as in training, in the form that is faster on the backend (benchmarks/forms.py)."""

  def stacked(x, kernel):
    taps = time_taps(x, kernel.shape[0], dilation, length, start)
    return jnp.einsum("btc,cf->btf", taps, rearrange(kernel, "a c f -> (a c) f"))

  def dilated(x, kernel):
    x, kernel = nn.dtypes.promote_dtype(x, kernel)
    return lax.conv_general_dilated(
      x, kernel, (1,), "VALID", rhs_dilation=(dilation,), dimension_numbers=("NWC", "WIO", "NWC")
    )

  if x.shape[1] != length + (kernel.shape[0] - 1) * dilation:
    return stacked(x, kernel)
  return lax.platform_dependent(x, kernel, cpu=dilated, default=stacked)


@functools.partial(jax.checkpoint, static_argnums=(2, 3))
def conv_frames(
  x: Float[Array, "b s i j c"], kernel: Float[Array, "a p q c f"], dilation: int, stride: int
) -> Float[Array, "b t u v f"]:
  """3-D convolution, VALID and dilated in time, SAME and strided in space: a 2-D convolution of stacked time taps.

  conv3d is slow on CPU and transposed in bf16 on GPU; this form is neither (measured 2-4 x faster on CPU). A frame of
  sampling has `few` outputs: there it is a product of patches, which reads the kernel as it lies."""
  length, outputs = x.shape[1] - (kernel.shape[0] - 1) * dilation, [-(-n // stride) for n in x.shape[2:4]]
  if few(x.shape[0] * length * math.prod(outputs)):
    y = patches(x, kernel.shape[:3], dilation, stride, (length, *outputs))
    return jnp.einsum("btuvc,cf->btuvf", y, rearrange(kernel, "a p q c f -> (a p q c) f"))
  taps = time_taps(x, kernel.shape[0], dilation, length, 0)
  if kernel.shape[1:3] == (1, 1) and stride == 1:
    return jnp.einsum("btijc,cf->btijf", taps, rearrange(kernel, "a 1 1 c f -> (a c) f"))
  folded = rearrange(kernel, "a p q c f -> p q (a c) f")
  images = rearrange(taps, "b t i j c -> (b t) i j c")
  y = lax.conv_general_dilated(images, folded, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
  return rearrange(y, "(b t) u v f -> b t u v f", t=length)


def patches(
  x: Float[Array, "b s i j c"], kernel: tuple[int, ...], dilation: int, stride: int, outputs: tuple[int, ...]
) -> Float[Array, "b t u v _"]:
  """Lays the inputs of each output of `conv_frames` side by side: (frame, row, column, channel)."""
  pads = lax.padtype_to_pads(x.shape[2:4], kernel[1:], (stride, stride), "SAME")
  x = jnp.pad(x, ((0, 0), (0, 0), *pads, (0, 0)))
  length, *sizes = outputs
  seen = []
  for tap, row, column in itertools.product(*map(range, kernel)):
    rows, columns = (
      slice(n, n + stride * (size - 1) + 1, stride) for n, size in zip((row, column), sizes, strict=True)
    )
    seen.append(x[:, tap * dilation : tap * dilation + length, rows, columns])
  return jnp.concatenate(seen, axis=-1)


class CausalConv3D(nn.Module):
  """Causal and dilated in time, bidirectional (SAME) in space (paper B.2.3, Table 5)."""

  kernel: tuple[int, int, int]
  dilation: int
  features: int

  @nn.compact
  def __call__(
    self, x: Float[Array, "b t i j c"], cache: Float[Array, "b r i j c"] | None
  ) -> tuple[Float[Array, "b t i j f"], Float[Array, "b r i j c"]]:
    """Args: cache: the (kernel - 1) * dilation frames before x; None starts a clip with zeros.

    Returns: the output, and the cache of the frame after x."""
    kernel = self.param("kernel", for_mish, (*self.kernel, x.shape[-1], self.features))
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    look_back = (self.kernel[0] - 1) * self.dilation
    if cache is None:
      cache = jnp.zeros((x.shape[0], look_back, *x.shape[2:]), x.dtype)
    seen = jnp.concatenate([cache, x], axis=1)
    return add_bias(conv_frames(seen, kernel, self.dilation, 1), bias), seen[:, seen.shape[1] - look_back :]


class CausalConv1D(nn.Module):
  """Causal dilated convolution over the raster of Memcodes (paper B.2.3, Table 6), cached as Paine et al. [42] do.

  The cache is linear: (kernel - 1) * dilation past inputs, then room for the current frame, written in place and
  rolled once a frame (`roll`). So the taps of any window are contiguous slices, and no step moves the cache."""

  kernel: int
  dilation: int
  features: int

  @nn.compact
  def __call__(
    self, x: Float[Array, "b t c"], cache: Float[Array, "b r c"] | None, position: int | Array
  ) -> tuple[Float[Array, "b t f"], Float[Array, "b r c"]]:
    """Args: cache: past inputs and room; None starts a clip, with exactly x as room. position: index of x in it.

    Returns: the output, and the cache with x written."""
    kernel = self.param("kernel", for_mish, (self.kernel, x.shape[-1], self.features))
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    look_back = (self.kernel - 1) * self.dilation
    if cache is None:
      cache = jnp.pad(x, ((0, 0), (look_back, 0), (0, 0)))
    else:
      cache = lax.dynamic_update_slice_in_dim(cache, x, look_back + position, axis=1)
    return add_bias(conv_memcodes(cache, kernel, self.dilation, x.shape[1], position), bias), cache


def roll(cache: Float[Array, "b r c"], room: int) -> Float[Array, "b r c"]:
  """Moves the current frame of a linear cache into its past, and leaves `room` free."""
  return jnp.pad(cache[:, room:], ((0, 0), (0, room), (0, 0)))


class ResidualBlock(nn.Module):
  """Rows of causal convolutions, each with Mish, and one shortcut around all (paper B.2.3, "every few dilated layers").

  GAP: Tables 5-6 do not draw the shortcut. Mish follows every row, the last one too ("all layers use Mish"); a 1x1
  convolution matches the widths where they differ."""

  conv: Callable  # CausalConv1D or CausalConv3D
  rows: tuple[tuple, ...]  # (kernel, dilation, features) a row, as printed
  shortcut_bias: bool

  @nn.compact
  def __call__(self, x: Float[Array, "b t ... c"], caches: tuple | None, *position: Any) -> tuple[Array, tuple]:
    """Args: caches: one a row; None starts a clip. position: passed on to the convolutions.

    Returns: the output, and the caches after x."""
    y, updated = x, []
    for n, row in enumerate(self.rows):
      y, cache = self.conv(*row, name=f"row_{n}")(y, None if caches is None else caches[n], *position)
      y = mish(y)
      updated.append(cache)
    if x.shape[-1] != y.shape[-1]:
      x = nn.Dense(y.shape[-1], use_bias=self.shortcut_bias, name="shortcut")(x)
    return x + y, tuple(updated)


def row_widths(width: int, rows: tuple[tuple, ...]) -> tuple[int, ...]:
  """The input width of every row of a residual block whose input is `width` wide."""
  return (width, *(features for _, _, features in rows[:-1]))
