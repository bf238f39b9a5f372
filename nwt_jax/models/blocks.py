"""Convolutions, residual blocks and resampling that encoder, decoder and critics share (Table 4, B.1)."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import linen as nn
from jaxtyping import Array, Float

from nwt_jax.types import Valid

Maps = Float[Array, "b t h w d"]
NewMaps = Float[Array, "b t _ _ _"]  # of another size or width


def leaky_relu(x: Array) -> Array:
  """PAPER: Table 4: LeakyReLU with slope 0.2."""
  return nn.leaky_relu(x, 0.2)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
  """Zeros before and after an axis so that the output has ceil(size / stride) elements.

  GAP: the paper names no padding. SAME in all networks of stage 1, in time as in space. Its even kernels (Table 4) then
  take the odd element after: a Memcode sees 1 frame before its own and 4 after, and so does a decoded frame.
  """
  total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
  return total // 2, total - total // 2


def stack_time(x: Maps, kernel: int) -> NewMaps:
  """Frames within a temporal kernel side by side in the channels, SAME padded: a 3-D convolution becomes a 2-D one.

  XLA fuses 2-D convolutions and keeps them in NHWC on every backend; 3-D ones are slow on CPU, transposed on GPU.
  """
  if kernel == 1:
    return x
  low, high = same_padding(x.shape[1], kernel, 1)
  padded = jnp.pad(x, ((0, 0), (low, high), (0, 0), (0, 0), (0, 0)))
  return jnp.concatenate([padded[:, tap : tap + x.shape[1]] for tap in range(kernel)], axis=-1)


def conv2d(x: Maps, kernel: Float[Array, "y x c o"], stride: int = 1, groups: int = 1) -> NewMaps:
  """SAME 2-D convolution of every frame.

  A strided convolution is computed as space-to-depth and a stride-1 convolution (exact when the stride divides the
  kernel), a grouped one as patches and an einsum: XLA turns the gradients of strided grouped convolutions into ones
  with image-sized windows.
  """
  size_y, size_x = kernel.shape[:2]
  if size_y % stride or size_x % stride:
    raise ValueError(f"kernel {size_y}x{size_x} is no multiple of stride {stride}; choose a kernel that is")
  pads = [same_padding(n, k, stride) for n, k in zip(x.shape[2:4], (size_y, size_x), strict=True)]
  if stride == groups == 1:
    return _dense(x, kernel, pads)
  x = jnp.pad(x, ((0, 0), (0, 0), *pads, (0, 0)))
  x = rearrange(x, "b t (y s) (x r) (g c) -> b t y x g (s r c)", s=stride, r=stride, g=groups)
  kernel = rearrange(kernel, "(y s) (x r) c (g o) -> y x g (s r c) o", s=stride, r=stride, g=groups)
  if groups == 1:
    return _dense(x[..., 0, :], kernel[:, :, 0], [(0, 0), (0, 0)])
  return _grouped(x, kernel)


def few(outputs: int) -> bool:
  """Returns whether a convolution has so few outputs that reading its kernel dominates: a product of patches is faster.

  cuDNN would copy the kernel into a layout of its own first. 64 are a frame's, where FAR has the most."""
  return outputs <= 64


def _dense(x: Maps, kernel: Float[Array, "y x c o"], pads: list[tuple[int, int]]) -> NewMaps:
  """A convolution with stride 1. The zeros around x are the convolution's own: a CPU is slow to write them."""
  sizes = [n + sum(pad) - k + 1 for n, k, pad in zip(x.shape[2:4], kernel.shape[:2], pads, strict=True)]
  if few(math.prod((*x.shape[:2], *sizes))) or any(n < k for n, k in zip(sizes, kernel.shape[:2], strict=True)):
    # An output smaller than the kernel: there a CPU takes much longer for the convolution's gradient than for this.
    return _grouped(jnp.pad(x, ((0, 0), (0, 0), *pads, (0, 0)))[..., None, :], kernel[:, :, None])
  batch = x.shape[0]
  flat = rearrange(x, "b t h w c -> (b t) h w c")
  out = jax.lax.conv_general_dilated(flat, kernel, (1, 1), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
  return rearrange(out, "(b t) h w c -> b t h w c", b=batch)


def _grouped(x: Float[Array, "b t h w g c"], kernel: Float[Array, "y x g c o"]) -> NewMaps:
  size_y, size_x = kernel.shape[:2]
  rows, columns = x.shape[2] - size_y + 1, x.shape[3] - size_x + 1
  taps = [x[:, :, y : y + rows, z : z + columns] for y in range(size_y) for z in range(size_x)]
  out = jnp.einsum("bthwgc,gco->bthwgo", jnp.concatenate(taps, axis=-1), rearrange(kernel, "y x g c o -> g (y x c) o"))
  return rearrange(out, "b t h w g o -> b t h w (g o)")


class Conv(nn.Module):
  """SAME convolution over time and space with a bias; a kernel of one frame makes it 2-D.

  GAP: initialisation: variance 2 / fan-in, usual for rectifiers.
  """

  features: int
  kernel: tuple[int, int, int]  # frames, rows, columns
  stride: int = 1  # in space
  groups: int = 1
  gain: float = 2.0

  @nn.compact
  def __call__(self, x: Maps, valid: Valid | None = None) -> NewMaps:
    frames, size_y, size_x = self.kernel
    channels = x.shape[-1]
    if channels % self.groups or self.features % self.groups:
      raise ValueError(f"{channels} -> {self.features} channels do not divide into {self.groups} groups")
    init = nn.initializers.variance_scaling(self.gain, "fan_in", "truncated_normal")
    kernel = self.param("kernel", init, (frames, size_y, size_x, channels // self.groups, self.features))
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    if frames > 1 and self.groups > 1:
      raise ValueError("grouped convolutions are spatial here; give the kernel one frame")
    x = stack_time(x, frames)
    x = conv2d(x, rearrange(kernel, "t y x c o -> y x (t c) o"), self.stride, self.groups)
    x = x + bias[None, None, None, None]
    return x if valid is None else x * valid[:, :, None, None, None]


class Residual(nn.Module):
  """Table 4's "Res n x": n convolutions, one shortcut around all of them, 1 x 1 where the width changes (B.1.1).

  GAP: "Res n x" could also be n blocks. GAP: the paper does not say where activations stand; here after each
  convolution, the last one after the sum. With 0 convolutions there is no block.
  """

  convs: int
  features: int
  kernel: int

  @nn.compact
  def __call__(self, x: Maps) -> NewMaps:
    if not self.convs:
      return x
    shortcut = x if x.shape[-1] == self.features else Conv(self.features, (1, 1, 1), gain=1.0, name="shortcut")(x)
    for index in range(self.convs):
      x = leaky_relu(x) if index else x
      x = Conv(self.features, (1, self.kernel, self.kernel), name=f"conv{index}")(x)
    return leaky_relu(x + shortcut)


class Temporal(nn.Module):
  """The temporal block: a stack of 3-D convolutions, kernels 2 x 2 in space (B.1.1)."""

  layers: tuple[tuple[int, int], ...]  # (frames in the kernel, features)

  @nn.compact
  def __call__(self, x: Maps, valid: Valid | None = None) -> NewMaps:
    if valid is not None:
      x = x * valid[:, :, None, None, None]
    for index, (frames, features) in enumerate(self.layers):
      x = leaky_relu(Conv(features, (frames, 2, 2), name=f"conv{index}")(x, valid))
    return x


def temporal_margins(layers: tuple[tuple[int, int], ...]) -> tuple[int, int]:
  """Frames before and after that one frame's output of a temporal block depends on."""
  return sum((k - 1) // 2 for k, _ in layers), sum(k - 1 - (k - 1) // 2 for k, _ in layers)


class UpConv(nn.Module):
  """Nearest-neighbour upsampling by two, then a SAME convolution."""

  features: int
  kernel: int

  @nn.compact
  def __call__(self, x: Maps) -> NewMaps:
    init = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")
    kernel = self.param("kernel", init, (1, self.kernel, self.kernel, x.shape[-1], self.features))
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    return upsampled_conv(x, merge_taps(kernel[0], 2), self.kernel) + bias[None, None, None, None]


Phases = tuple[tuple[Float[Array, "_ _ c o"], ...], ...]  # a kernel for each output phase: [row phase][column phase]


def merge_taps(kernel: Float[Array, "k k c o"], scale: int) -> Phases:
  """A SAME convolution after nearest-neighbour upsampling by `scale`, as convolutions before it: `upsampled_conv`.

  The scale^2 output pixels within a small pixel (phases) see its neighbours through kernels of their own, in which the
  taps that read the same small pixel are added up: exact, and with a kernel of 4 x 4 and a scale of 2 four kernels have
  25 taps, where the four outputs took 64.
  """
  if scale == 1:
    return ((kernel,),)
  reads = [
    jnp.asarray(phase[:, None] == np.arange(phase[0], phase[-1] + 1), kernel.dtype)
    for phase in _phase_offsets(kernel.shape[0], scale)
  ]
  merge = lambda row, column: jnp.einsum("yr,xs,yxco->rsco", row, column, kernel, precision="highest")
  return tuple(tuple(merge(row, column) for column in reads) for row in reads)


def upsampled_conv(x: Maps, phases: Phases, size: int) -> NewMaps:
  """Upsampling and SAME convolution of every frame.

  Args: phases: the result of `merge_taps`. size: side of the kernel that was merged."""
  margins = [(-int(phase[0]), int(phase[-1])) for phase in _phase_offsets(size, len(phases))]
  outputs = [
    _dense(x, kernel, [above_below, left_right])
    for above_below, row in zip(margins, phases, strict=True)
    for left_right, kernel in zip(margins, row, strict=True)
  ]
  return rearrange(outputs, "(p q) b t h w o -> b t (h p) (w q) o", p=len(phases))


def _phase_offsets(size: int, scale: int) -> np.ndarray:
  """Returns the small pixel that each tap of each phase reads, counted from the output's own: [phase, tap]."""
  before, _ = same_padding(size, size, 1)
  return (np.arange(scale)[:, None] + np.arange(size) - before) // scale
