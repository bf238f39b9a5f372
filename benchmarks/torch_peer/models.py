"""The decoders of MAR and FAR in PyTorch, with our weights. Conditioning comes from our model's `condition`.

Called on whole clips they are what training and naive sampling run; mar.py and far.py sample with caches.
Activations are [b c t] in MAR and [b h w c] in FAR: what PyTorch's convolutions take without a copy.
"""

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def tensor(array, device="cpu", dtype: torch.dtype | None = None) -> Tensor:
  """A tensor of a JAX or NumPy array, or of a tensor, which is not copied where it is right already."""
  if not isinstance(array, Tensor):
    array = torch.from_numpy(np.array(array, order="C"))
  return array.to(device=device, dtype=dtype)


def in_dtype(decoder: nn.Module, device, dtype: torch.dtype) -> nn.Module:
  """A decoder on a device. Its logits are float32 at least, whatever the rest is, as ours are."""
  decoder.to(device=device, dtype=dtype)
  decoder.logits.to(dtype=torch.promote_types(dtype, torch.float32))
  return decoder


def with_weights(module: nn.Module, weight, bias) -> nn.Module:
  """A layer, made on no device, with its parameters."""
  module.weight = nn.Parameter(tensor(weight))
  if bias is not None:
    module.bias = nn.Parameter(tensor(bias))
  return module


def dense(weights: dict, rows: int | None = None) -> nn.Linear:
  """A linear layer. Args: rows: the inputs that are left where conditioning brings the others' share, and the bias."""
  kernel = np.asarray(weights["kernel"])[:rows]
  bias = weights.get("bias") if rows is None else None
  return with_weights(nn.Linear(*kernel.shape, bias=bias is not None, device="meta"), kernel.T, bias)


def conv1d(weights: dict, dilation: int) -> nn.Conv1d:
  """A dilated convolution without padding."""
  kernel = rearrange(np.asarray(weights["kernel"]), "a c f -> f c a")
  features, width, taps = kernel.shape
  made = nn.Conv1d(width, features, taps, dilation=dilation, device="meta")
  return with_weights(made, kernel, weights["bias"])


def pointwise(layer: nn.Linear) -> nn.Conv1d:
  """A linear layer on [b c t]."""
  features, width = layer.weight.shape
  made = nn.Conv1d(width, features, 1, bias=layer.bias is not None, device="meta")
  return with_weights(made, layer.weight.detach()[..., None], layer.bias)


def embedding(table, num_codes: int) -> nn.Embedding:
  """Codes to vectors. Code `num_codes`, the empty one, is the table's own row or else zeros that learn nothing."""
  table = tensor(table)
  learned = len(table) > num_codes
  rows = table if learned else torch.cat([table, torch.zeros_like(table[:1])])
  return nn.Embedding.from_pretrained(rows, freeze=False, padding_idx=None if learned else num_codes)


def inner_widths(model) -> tuple[int, ...]:
  """Width of the activations that enter each block's projection."""
  return (model.decoder_width, *(rows[-1][-1] for rows in model.blocks[:-1]))


class CausalBlock1d(nn.Module):
  """A residual block of causal dilated convolutions over Memcodes."""

  def __init__(self, weights: dict, rows: tuple):
    super().__init__()
    self.rows = nn.ModuleList(conv1d(weights[f"row_{n}"], dilation) for n, (_, dilation, _) in enumerate(rows))
    self.shortcut = pointwise(dense(weights["shortcut"])) if "shortcut" in weights else nn.Identity()

  def forward(self, x: Tensor) -> Tensor:
    y = x
    for conv in self.rows:
      y = F.mish(conv(F.pad(y, ((conv.kernel_size[0] - 1) * conv.dilation[0], 0))))
    return self.shortcut(x) + y


class MARDecoder(nn.Module):
  """`nwt_jax.models.mar.MAR.window` without a cache. Args: params: our variables. model: our module, for its sizes."""

  def __init__(self, params, model):
    super().__init__()
    weights = params["params"]
    self.num_heads, self.num_codes = model.num_heads, model.num_codes
    self.receptive_field = model.receptive_field
    self.embed = embedding(weights["embed"]["table"], model.num_codes)
    self.linears = nn.ModuleList(
      pointwise(dense(weights[f"linears_{n}"], width)) for n, width in enumerate(inner_widths(model))
    )
    self.blocks = nn.ModuleList(CausalBlock1d(weights[f"residual_{n}"], rows) for n, rows in enumerate(model.blocks))
    self.logits = pointwise(dense(weights["logits"]))

  def forward(self, previous: Tensor, cond: tuple[Tensor, ...]) -> Tensor:
    """Args: previous: the Memcode before each, [b w k]. cond: the conditioning's share a block, [b f w].

    Returns: logits [b k n w]."""
    x = self.embed(previous).flatten(2).transpose(1, 2)
    for linear, share, block in zip(self.linears, cond, self.blocks, strict=True):
      x = block(linear(x) + share)
    return self.logits(x.to(self.logits.weight.dtype)).unflatten(1, (self.num_heads, self.num_codes))


class Same2d(nn.Module):
  """A convolution of [b h w c] with SAME padding as XLA has it: the odd zero goes after.

  `patches`: as one product of patches and the weights. PyTorch's eager convolution on CPU lays its weights out anew in
  every call, which at batch 1 takes longer than the products (measured: 2 to 5 x, at 1024 channels on 4 x 4)."""

  patches = False

  def __init__(self, weights: dict, size: tuple[int, int], stride: int = 1):
    super().__init__()
    kernel = rearrange(np.asarray(weights["kernel"]), "p q c f -> f c p q")
    features, width, *taps = kernel.shape
    total = [max((-(-n // stride) - 1) * stride + k - n, 0) for n, k in zip(size, taps, strict=True)]
    (top, left), (bottom, right) = [n // 2 for n in total], [n - n // 2 for n in total]
    self.margins = (0, 0, left, right, top, bottom)
    self.conv = with_weights(nn.Conv2d(width, features, taps, stride, device="meta"), kernel, weights["bias"])
    self.conv.to(memory_format=torch.channels_last)

  def forward(self, x: Tensor) -> Tensor:
    conv = self.conv
    x = F.pad(x, self.margins) if any(self.margins) else x
    if not self.patches:
      return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    for axis, (size, stride) in enumerate(zip(conv.kernel_size, conv.stride, strict=True), 1):
      x = x.unfold(axis, size, stride)
    return F.linear(x.permute(0, 1, 2, 4, 5, 3).flatten(3), conv.weight.permute(0, 2, 3, 1).flatten(1), conv.bias)


class CausalConv3d(nn.Module):
  """Causal and dilated in time, SAME in space: a 2-D convolution of the taps' frames side by side in the channels."""

  def __init__(self, weights: dict, dilation: int, size: tuple[int, int]):
    super().__init__()
    kernel = np.asarray(weights["kernel"])
    self.taps, self.dilation, self.width = kernel.shape[0], dilation, kernel.shape[3]
    folded = {"kernel": rearrange(kernel, "a p q c f -> p q (a c) f"), "bias": weights["bias"]}
    self.spatial = Same2d(folded, size)

  @property
  def look_back(self) -> int:
    """Frames before a frame that it sees."""
    return (self.taps - 1) * self.dilation

  def forward(self, x: Tensor) -> Tensor:
    """The frames of a clip from its start on, [t u v c] -> [t u v f]."""
    seen = F.pad(x, (0, 0, 0, 0, 0, 0, self.look_back, 0))
    return self.spatial(torch.cat([seen[n * self.dilation :][: len(x)] for n in range(self.taps)], dim=-1))


class CausalBlock3d(nn.Module):
  """A residual block of causal convolutions over frames."""

  def __init__(self, weights: dict, rows: tuple, size: tuple[int, int]):
    super().__init__()
    self.rows = nn.ModuleList(
      CausalConv3d(weights[f"row_{n}"], dilation, size) for n, (_, dilation, _) in enumerate(rows)
    )
    self.shortcut = dense(weights["shortcut"]) if "shortcut" in weights else nn.Identity()


class FARDecoder(nn.Module):
  """`nwt_jax.models.far.FAR.frame` of one clip. Args: params: our variables. model: our module, for its sizes."""

  def __init__(self, params, model):
    super().__init__()
    weights = params["params"]
    self.grid, self.num_heads, self.num_codes = model.grid, model.num_heads, model.num_codes
    self.margins = (0, 0, 0, model.padded[1] - model.grid[1], 0, model.padded[0] - model.grid[0])
    self.receptive_field = model.receptive_field
    self.embed = embedding(weights["embed"]["table"], model.num_codes)
    size, downs, ups = model.padded, [], []
    for n, (_, stride, _) in enumerate(model.down):
      downs.append(Same2d(weights[f"downs_{n}"], size, stride))
      size = tuple(-(-length // stride) for length in size)
    self.linears = nn.ModuleList(dense(weights[f"linears_{n}"], width) for n, width in enumerate(inner_widths(model)))
    self.blocks = nn.ModuleList(
      CausalBlock3d(weights[f"residual_{n}"], rows, size) for n, rows in enumerate(model.blocks)
    )
    self.scales = [scale for _, scale, _ in model.up]
    for n, scale in enumerate(self.scales):
      size = tuple(length * scale for length in size)
      ups.append(Same2d(weights[f"ups_{n}"], size))
    self.downs, self.ups, self.logits = nn.ModuleList(downs), nn.ModuleList(ups), dense(weights["logits"])

  def enter(self, previous: Tensor) -> Tensor:
    """Codes of the frames before [t i j k] -> activations [t u v c] at the decoder's grid."""
    x = self.embed(F.pad(previous, self.margins, value=self.num_codes)).flatten(3)
    for conv in self.downs:
      x = F.mish(conv(x))
    return x

  def leave(self, x: Tensor) -> Tensor:
    """Activations -> logits [t i j k n]."""
    for conv, scale in zip(self.ups, self.scales, strict=True):
      if scale > 1:
        t, h, w, c = x.shape
        x = x[:, :, None, :, None].expand(t, h, scale, w, scale, c).reshape(t, h * scale, w * scale, c)
      x = F.mish(conv(x))
    x = x[:, : self.grid[0], : self.grid[1]].to(self.logits.weight.dtype)
    return self.logits(x).unflatten(3, (self.num_heads, self.num_codes))

  def forward(self, previous: Tensor, cond: tuple[Tensor, ...]) -> Tensor:
    """Args: previous: codes before each frame of a clip, from its start on [t i j k]. cond: the conditioning's share a
    block, [t u v f].

    Returns: logits [t i j k n]."""
    x = self.enter(previous)
    for linear, share, block in zip(self.linears, cond, self.blocks, strict=True):
      x = y = linear(x) + share
      for conv in block.rows:
        y = F.mish(conv(y))
      x = block.shortcut(x) + y
    return self.leave(x)

  def step(
    self, previous: Tensor, cond: list[Tensor], noise: Tensor, cache: list[list[Tensor]]
  ) -> tuple[Tensor, list[Tensor]]:
    """Draws one frame. Args: cache: for each row of each block, the inputs at its taps before this frame, [1 u v c].

    Returns: codes [1 i j k], and each row's input of this frame."""
    x, inputs = self.enter(previous), []
    for linear, share, block in zip(self.linears, cond, self.blocks, strict=True):
      x = y = linear(x) + share
      for conv in block.rows:
        before = cache[len(inputs)]
        inputs.append(y)
        y = F.mish(conv.spatial(torch.cat([*before, y], dim=-1)))
      x = block.shortcut(x) + y
    return (self.leave(x) + noise).argmax(-1), inputs
