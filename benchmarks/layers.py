"""Layers of training, each in the form that is ours and in others that give the same."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax import lax

from nwt_jax.configs import dvae_lwt
from nwt_jax.models import blocks, causal
from nwt_jax.models.critics import Critics
from nwt_jax.objectives import terms

FORWARD, GRADIENT, DOUBLE = "forward", "forward + backward", "double backward"
PENALTY = "gradient by the parameters"
NHWC = ("NHWC", "HWIO", "NHWC")

# paper: widths of Tables 4 to 6; small: what two CPU cores do in five minutes; tiny: for tests.
SIZES = {
  "tiny": {
    "dilated": [(1, 32, 4, d) for d in (1, 4, 16)],  # clips, Memcodes, width, dilation
    "causal": [((1, 4, 3, 2, 4), 5, 1), ((1, 5, 3, 2, 4), 3, 2)],  # input [b t i j c], features, dilation
    "spatial": [(2, 4, 3, 5, 4), (2, 2, 3, 5, 4)],  # frames, size, features in and out, kernel
    "grouped": [(2, 4, 4, 8, 2, 4)],  # frames, size, features in and out, groups, kernel; stride 2
    "penalty": ((2, 2, 16, 16, 3), 16),  # clips, divisor of the critics' widths
    "upsampled": [(2, 3, 4, 5, 4)],  # frames, size, features in and out, kernel
    "embedded": (2, 4, 2, 4, 6, 5),  # frames, size, heads, codes, embedding, features; kernel 4, stride 2
  },
  "small": {
    "dilated": [(4, 1024, 64, d) for d in (1, 16, 512)],
    "causal": [((2, 16, 4, 4, 64), 128, 1), ((2, 16, 4, 4, 128), 64, 2)],
    "spatial": [(16, 16, 96, 96, 4), (16, 32, 48, 48, 4)],
    "grouped": [(4, 16, 32, 128, 16, 4), (4, 8, 64, 128, 32, 4)],
    "penalty": ((2, 4, 32, 32, 3), 8),
    "upsampled": [(16, 8, 128, 128, 4), (16, 16, 64, 64, 4)],
    "embedded": (16, 16, 8, 8, 32, 64),
  },
  "paper": {
    "dilated": [(8, 7168, 1024, d) for d in (1, 16, 512)],
    "causal": [((8, 32, 4, 4, 1024), 4096, 1), ((8, 32, 4, 4, 4096), 1024, 2)],
    "spatial": [(60, 64, 128, 128, 4), (60, 16, 512, 512, 2)],
    "grouped": [(30, 128, 32, 128, 16, 4), (30, 32, 512, 1024, 256, 4)],
    "penalty": ((1, 8, 256, 224, 3), 1),
    "upsampled": [(256, 8, 1024, 1024, 4), (60, 64, 256, 128, 4)],
    "embedded": (256, 16, 8, 8, 128, 1024),
  },
}


@dataclasses.dataclass(frozen=True)
class Layer:
  """One layer in several forms.

  forms: name -> function of the arguments; the first is ours. arguments: a tuple, or one a form, where what they are
  given differs. by: the arguments that gradients are taken by. ways: what is timed.
  """

  name: str
  forms: dict[str, Callable]
  arguments: tuple | dict[str, tuple]
  ways: tuple[str, ...] = (FORWARD, GRADIENT)
  by: tuple[int, ...] = (0, 1)

  def given(self, form: str) -> tuple:
    return self.arguments[form] if isinstance(self.arguments, dict) else self.arguments


def draw(seed: int, *shape: int) -> jax.Array:
  """Inputs (seed 0), or a kernel that passes signals on at about their size."""
  scale = 1 / math.sqrt(math.prod(shape[:-1])) if seed else 1.0
  return jnp.asarray(scale * np.random.default_rng(seed).standard_normal(shape))


def dilated(clips: int, length: int, width: int, dilation: int) -> Layer:
  """MAR's causal convolution over Memcodes, kernel 4 (B.2.3)."""
  look_back = 3 * dilation

  def stacked(x, kernel):
    taps = causal.time_taps(jnp.pad(x, ((0, 0), (look_back, 0), (0, 0))), 4, dilation, length, 0)
    return jnp.einsum("btc,cf->btf", taps, rearrange(kernel, "a c f -> (a c) f"))

  def ours(x, kernel):  # on CPU with rhs_dilation, elsewhere with stacked taps
    return causal.conv_memcodes(jnp.pad(x, ((0, 0), (look_back, 0), (0, 0))), kernel, dilation, length, 0)

  def native(x, kernel):
    return lax.conv_general_dilated(
      x, kernel, (1,), [(look_back, 0)], rhs_dilation=(dilation,), dimension_numbers=("NWC", "WIO", "NWC")
    )

  def reshaped(x, kernel):
    x = rearrange(x, "b (t d) c -> b t d c", d=dilation)
    y = lax.conv_general_dilated(x, kernel[:, None], (1, 1), [(3, 0), (0, 0)], dimension_numbers=NHWC)
    return rearrange(y, "b t d c -> b (t d) c")

  def matmuls(x, kernel):
    x = jnp.pad(x, ((0, 0), (look_back, 0), (0, 0)))
    return sum(x[:, tap * dilation : tap * dilation + length] @ kernel[tap] for tap in range(4))

  forms = {
    "as in the models": ours,
    "stacked taps": stacked,
    "rhs_dilation": native,
    "reshaped, conv2d": reshaped,
    "four matmuls": matmuls,
  }
  arguments = draw(0, clips, length, width), draw(1, 4, width, width)
  return Layer(f"1-D convolution, dilation {dilation}", forms, arguments)


def causal_frames(shape: tuple[int, ...], features: int, dilation: int) -> Layer:
  """FAR's causal 3-D convolution, kernel 3 x 2 x 2 (B.2.3); dVAE and critics have the same form in blocks.py."""
  same = [(0, 1), (0, 1)]  # of a kernel of two

  def native(x, kernel):
    return lax.conv_general_dilated(
      x,
      kernel,
      (1, 1, 1),
      [(0, 0), *same],
      rhs_dilation=(dilation, 1, 1),
      dimension_numbers=("NTHWC", "THWIO", "NTHWC"),
    )

  def shifted(x, kernel):
    length = x.shape[1] - 2 * dilation
    return sum(blocks.conv2d(x[:, tap * dilation : tap * dilation + length], kernel[tap]) for tap in range(3))

  forms = {
    "stacked frames, conv2d": lambda x, kernel: causal.conv_frames(x, kernel, dilation, 1),
    "conv3d": native,
    "sum of conv2d": shifted,
  }
  arguments = draw(0, *shape), draw(1, 3, 2, 2, shape[-1], features)
  name = f"causal 3-D convolution {shape[-1]} -> {features}, dilation {dilation}"
  return Layer(name, forms, arguments, (FORWARD, GRADIENT, DOUBLE))


def spatial(frames: int, size: int, channels: int, features: int, kernel: int) -> Layer:
  """The dVAE's and the critics' convolution with stride 1 (Table 4)."""
  low, high = blocks.same_padding(size, kernel, 1)

  def zeros_first(x, weights):
    x = jnp.pad(x[0], ((0, 0), (low, high), (low, high), (0, 0)))
    return lax.conv_general_dilated(x, weights, (1, 1), "VALID", dimension_numbers=NHWC)[None]

  forms = {
    "padding of the convolution": lambda x, weights: blocks.conv2d(x, weights),
    "zeros written first": zeros_first,
  }
  arguments = draw(0, 1, frames, size, size, channels), draw(1, kernel, kernel, channels, features)
  return Layer(f"2-D convolution {channels} -> {features}", forms, arguments)


def grouped(frames: int, size: int, channels: int, features: int, groups: int, kernel: int) -> Layer:
  """A critic's grouped convolution with stride 2 (Table 4b)."""

  def native(x, weights, groups=groups):
    y = lax.conv_general_dilated(x[0], weights, (2, 2), "SAME", dimension_numbers=NHWC, feature_group_count=groups)
    return y[None]

  def block_diagonal(x, weights):
    weights = rearrange(weights, "y x c (g o) -> y x g c o", g=groups)
    dense = weights[:, :, :, :, None] * jnp.eye(groups, dtype=weights.dtype)[None, None, :, None, :, None]
    return native(x, rearrange(dense, "y x g c h o -> y x (g c) (h o)"), 1)

  forms = {
    "patches, einsum": lambda x, weights: blocks.conv2d(x, weights, 2, groups),
    "feature_group_count": native,
    "block-diagonal, dense": block_diagonal,
  }
  arguments = draw(0, 1, frames, size, size, channels), draw(1, kernel, kernel, channels // groups, features)
  name = f"grouped convolution {channels} -> {features}, {groups} groups"
  return Layer(name, forms, arguments, (FORWARD, GRADIENT, DOUBLE))


def penalty(shape: tuple[int, ...], divisor: int) -> Layer:
  """The gradient penalty's gradient by the critics' parameters (eq. 9), see objectives/terms.py."""
  critics = Critics(dvae_lwt.scaled(dvae_lwt.CRITICS, divisor), 0)
  scores = lambda params, x: critics.apply(params, x).scores

  def surrogate(params, x):
    frozen = lax.stop_gradient(params)
    return terms.gradient_penalty(lambda x: scores(params, x), lambda x: scores(frozen, x), x)[0]

  def plain(params, x):
    total = 0.0
    for index in range(len(critics.critics)):
      slope = jax.grad(lambda x, index=index: jnp.sum(scores(params, x)[index]))(x)
      total += jnp.mean((jnp.sqrt(jnp.sum(slope**2, axis=(1, 2, 3, 4))) - 1) ** 2)
    return total

  forms = {"surrogate": jax.grad(surrogate), "backward twice": jax.grad(plain)}
  x = jnp.tanh(draw(0, *shape))
  shapes = jax.eval_shape(critics.init, jax.random.key(0), jnp.zeros(shape))
  leaves, tree = jax.tree.flatten(shapes)
  params = tree.unflatten([draw(seed, *leaf.shape) for seed, leaf in enumerate(leaves, 1)])
  return Layer("gradient penalty", forms, (params, x), (PENALTY,))


def upsampled(frames: int, size: int, channels: int, features: int, kernel: int) -> list[Layer]:
  """The dVAE's and FAR's upsampling and convolution: in training, and in sampling with kernels merged before."""

  def repeated(x, weights):
    return blocks.conv2d(jnp.repeat(jnp.repeat(x, 2, axis=2), 2, axis=3), weights)

  def four(x, *phases):
    return blocks.upsampled_conv(x, (phases[:2], phases[2:]), kernel)

  def one(x, merged):
    return rearrange(blocks.conv2d(x, merged), "b t h w (p q o) -> b t (h p) (w q) o", p=2, q=2)

  def phases(weights):
    return [phase for row in blocks.merge_taps(weights, 2) for phase in row]

  def zero_padded(weights):
    """The kernels of all phases with the taps of the largest, side by side in the features."""
    pixel = (np.arange(2)[:, None] + np.arange(kernel) - (kernel - 1) // 2) // 2  # that a phase's tap reads
    reads = jnp.asarray(pixel[..., None] == np.arange(pixel.min(), pixel.max() + 1), weights.dtype)
    return rearrange(jnp.einsum("pyr,qxs,yxco->rscpqo", reads, reads, weights), "r s c p q o -> r s c (p q o)")

  x, weights = draw(0, 1, frames, size, size, channels), draw(1, kernel, kernel, channels, features)
  name = f"upsampling and convolution {channels} -> {features}"
  training = {
    "four phases": lambda x, weights: four(x, *phases(weights)),
    "repeated pixels": repeated,
    "one convolution, zero taps": lambda x, weights: one(x, zero_padded(weights)),
  }
  still = x[:, :1]
  folded = {
    "four phases": (still, *phases(weights)),
    "repeated pixels": (still, weights),
    "one convolution, zero taps": (still, zero_padded(weights)),
  }
  sampling = {"four phases": four, "repeated pixels": repeated, "one convolution, zero taps": one}
  return [
    Layer(name, training, (x, weights)),
    Layer(f"{name}, one frame, kernels merged before", sampling, folded, (FORWARD,)),
  ]


def embedded(frames: int, size: int, heads: int, codes: int, width: int, features: int) -> Layer:
  """FAR's embedding and its first convolution."""
  conv = lambda x, kernel: causal.conv_frames(x, kernel[None], 1, 2)

  def folded(kernel, table, onehot):
    kernel = jnp.einsum("yxkdo,nd->yxkno", rearrange(kernel, "y x (k d) o -> y x k d o", k=heads), table)
    return conv(rearrange(onehot, "b t h w k n -> b t h w (k n)"), rearrange(kernel, "y x k n o -> y x (k n) o"))

  def one_by_one(kernel, table, onehot):
    return conv(rearrange(jnp.einsum("...n,nd->...d", onehot, table), "b t h w k d -> b t h w (k d)"), kernel)

  drawn = np.random.default_rng(0).integers(0, codes, (1, frames, size, size, heads))
  arguments = draw(1, 4, 4, heads * width, features), draw(2, codes, width), jax.nn.one_hot(drawn, codes)
  return Layer("embedding and convolution", {"one-hot, folded": folded, "one after the other": one_by_one}, arguments)


def layers(size: str, dtype=jnp.float32) -> list[Layer]:
  """Everything that is compared, at one of SIZES."""
  sizes = SIZES[size]
  found = [
    *(dilated(*row) for row in sizes["dilated"]),
    *(causal_frames(*row) for row in sizes["causal"]),
    *(spatial(*row) for row in sizes["spatial"]),
    *(grouped(*row) for row in sizes["grouped"]),
    penalty(*sizes["penalty"]),
    *(layer for row in sizes["upsampled"] for layer in upsampled(*row)),
    embedded(*sizes["embedded"]),
  ]
  cast = lambda layer: jax.tree.map(lambda x: x.astype(dtype), layer.arguments)
  return [dataclasses.replace(layer, arguments=cast(layer)) for layer in found]


def way(layer: Layer, form: str, kind: str) -> Callable:
  """What is timed: the form itself, its gradient, or the gradient of its slope by the input, squared (as in eq. 9)."""
  function = layer.forms[form]
  if kind in (FORWARD, PENALTY):
    return function
  loss = lambda *arguments: jnp.sum(jnp.tanh(function(*arguments)))
  slope = lambda *arguments: jnp.sum(jax.grad(loss)(*arguments) ** 2)
  return jax.grad(loss if kind == GRADIENT else slope, argnums=layer.by)
