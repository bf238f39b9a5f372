"""Sampling from MAR in PyTorch, a Memcode a step. The interface is in benchmarks/torch_peer/sampling.py."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from benchmarks.torch_peer.models import MARDecoder, tensor
from benchmarks.torch_peer.sampling import Peer, capture, compiled

UNROLL = 8  # most steps in one compiled program


class Polyphase:
  """The cache of a causal dilated convolution, with room for a frame: the taps of any position lie side by side.

  Position p of a frame is at [p % dilation, taps - 1 + p // dilation]. No step copies or gathers (5 % faster than
  slices of one cache in order, measured on CPU), and every frame finds its positions at the same addresses, once `roll`
  has moved the frame into the cache."""

  def __init__(self, conv: nn.Conv1d, positions: int):
    (taps,), (self.dilation,) = conv.kernel_size, conv.dilation
    self.older, self.positions = taps - 1, positions
    self.data = conv.weight.new_zeros(self.dilation, self.older + -(-positions // self.dilation), conv.in_channels)

  def row(self, position: int) -> Tensor:
    """Where the input of a position goes, [c]."""
    return self.data[position % self.dilation, self.older + position // self.dilation]

  def taps(self, position: int) -> Tensor:
    """What the output of a position reads, [taps*c], oldest first."""
    start = position // self.dilation
    return self.data[position % self.dilation, start : start + self.older + 1].view(-1)

  def roll(self) -> None:
    in_order = self.data.transpose(0, 1).flatten(0, 1)
    kept = in_order[self.positions :][: self.older * self.dilation].clone()
    self.data[:, : self.older] = kept.unflatten(0, (self.older, self.dilation)).transpose(0, 1)


class MARSteps(nn.Module):
  """MAR's decoder as matrices, and `count` steps of it as one function of tensors, for torch.compile.

  A product is a matrix and a vector: `addmv` is fastest on CPU, eager and compiled (`linear` takes up to 2.6 x)."""

  def __init__(self, decoder: MARDecoder, count: int):
    super().__init__()
    self.count, self.num_heads, self.num_codes = count, decoder.num_heads, decoder.num_codes
    rows = [conv for block in decoder.blocks for conv in block.rows]
    matrix = lambda conv: nn.Parameter(conv.weight.transpose(1, 2).flatten(1).contiguous(), False)  # [f, taps*c]
    self.table, self.logits = decoder.embed.weight, matrix(decoder.logits)
    self.linears = nn.ParameterList(map(matrix, decoder.linears))
    self.rows, self.biases = nn.ParameterList(map(matrix, rows)), nn.ParameterList(conv.bias for conv in rows)
    self.taps, self.dilations = [conv.kernel_size[0] for conv in rows], [conv.dilation[0] for conv in rows]
    self.lengths = [len(block.rows) for block in decoder.blocks]
    self.shortcuts = nn.ModuleList(block.shortcut for block in decoder.blocks)

  def shortcut(self, block: int, x: Tensor) -> Tensor:
    conv = self.shortcuts[block]
    if isinstance(conv, nn.Identity):
      return x
    weight = conv.weight[..., 0]
    return torch.mv(weight, x) if conv.bias is None else torch.addmv(conv.bias, weight, x)

  def forward(
    self, previous: Tensor, cond: list[Tensor], noise: Tensor, cache: list[list[Tensor]]
  ) -> tuple[Tensor, list[Tensor]]:
    """Args: previous: [k]. cond: [count f] a block. noise: [count k*n], with the logits' bias. cache: for each row what
      its taps see before these steps, oldest first, [count c] each; of what lies in these steps anything.

    Returns: codes [count k], and each row's inputs [count c]."""
    inputs, drawn = [[] for _ in self.dilations], []
    for step in range(self.count):
      x, first = self.table[previous].flatten(), 0
      for block, length in enumerate(self.lengths):
        x = y = torch.addmv(cond[block][step], self.linears[block], x)
        for row in range(first, first + length):
          back = [n * self.dilations[row] for n in range(self.taps[row] - 1, 0, -1)]
          seen = [inputs[row][step - b] if b <= step else p[step] for b, p in zip(back, cache[row], strict=True)]
          inputs[row].append(y)
          y = F.mish(torch.addmv(self.biases[row], self.rows[row], torch.cat([*seen, y])))
        first += length
        x = y + self.shortcut(block, x)
      scores = torch.addmv(noise[step], self.logits, x.to(self.logits.dtype))
      previous = scores.view(self.num_heads, self.num_codes).argmax(-1)
      drawn.append(previous)
    return torch.stack(drawn), [torch.stack(each) for each in inputs]


class MARPeer(Peer):
  """MAR, a Memcode a step. `graph` captures the eager frame, `compile+graph` the compiled one."""

  def __init__(self, params, model, device: str = "cpu", dtype: torch.dtype = torch.float32):
    super().__init__(MARDecoder(params, model), model, device, dtype)
    self.positions = self.steps_a_frame = model.positions
    count = max(n for n in range(1, UNROLL + 1) if self.positions % n == 0)
    self.matrices = MARSteps(self.decoder, count).eval()
    self.cond = [self.zeros(self.positions, model.linear_dim) for _ in model.blocks]
    self.noise = self.zeros(self.positions, len(self.matrices.logits)).to(self.exact)
    self.codes = torch.full((self.positions + 1, model.num_heads), self.empty, device=self.device)
    self.drawn = self.codes[1:]
    self.caches: list[Polyphase] = []
    self.linear_caches: list[Tensor] = []  # the compiled steps' caches: [look_back + positions, c]

  def begin(self) -> None:
    self.codes[0] = self.empty
    for data in (*(cache.data for cache in self.caches), *self.linear_caches):
      data.zero_()

  def take_noise(self, noise: Tensor) -> None:
    torch.add(noise.view_as(self.noise), self.decoder.logits.bias, out=self.noise)

  def program(self, mode: str) -> Callable[[], None]:
    frame = self.compiled_frame() if "compile" in mode else self.eager_frame()
    return capture(frame) if "graph" in mode else frame

  def eager_frame(self) -> Callable[[], None]:
    """Every step writes into views that were made once: nothing is sliced, allocated or copied in a frame."""
    m = self.matrices
    rows = [conv for block in self.decoder.blocks for conv in block.rows]
    self.caches = caches = [Polyphase(conv, self.positions) for conv in rows]
    ends = [self.zeros(block.rows[-1].out_channels) for block in self.decoder.blocks]
    around = [torch.zeros_like(end) for end in ends]
    embedded = self.zeros(self.codes.shape[1], m.table.shape[1])
    scores = torch.zeros(m.num_heads, m.num_codes, device=self.device, dtype=self.exact)
    last = ends[-1].to(self.exact)  # ends[-1] itself, unless that is coarser
    steps = []
    for position in range(self.positions):
      blocks, row = [], 0
      for n, length in enumerate(m.lengths):
        inside = range(row, row + length)
        outs = [caches[r].row(position) for r in inside[1:]] + [ends[n]]
        products = [(m.biases[r], m.rows[r], caches[r].taps(position), o) for r, o in zip(inside, outs, strict=True)]
        conv = m.shortcuts[n]
        short = None if isinstance(conv, nn.Identity) else (conv.bias, conv.weight[..., 0], around[n])
        blocks.append((self.cond[n][position], m.linears[n], caches[row].row(position), products, short, ends[n]))
        row += length
      steps.append((self.codes[position], blocks, self.noise[position], self.codes[position + 1]))

    def frame(addmv=torch.addmv, mv=torch.mv, mish=F.mish):
      flat, flat_scores = embedded.view(-1), scores.view(-1)
      for previous, blocks, noise, code in steps:
        torch.index_select(m.table, 0, previous, out=embedded)
        x = flat
        for cond, linear, entry, products, short, end in blocks:
          addmv(cond, linear, x, out=entry)
          for bias, weight, taps, out in products:
            addmv(bias, weight, taps, out=out)
            mish(out, inplace=True)
          if short is None:
            end += entry
          else:
            bias, weight, out = short
            end += mv(weight, entry, out=out) if bias is None else addmv(bias, weight, entry, out=out)
          x = end
        if last is not x:
          last.copy_(x)
        addmv(noise, m.logits, last, out=flat_scores)
        torch.argmax(scores, 1, out=code)
      self.codes[0].copy_(self.codes[-1])
      for cache in caches:
        cache.roll()

    return frame

  def compiled_frame(self) -> Callable[[], None]:
    """Some steps a call. The compiled program reads slices of the caches, and what it returns is written after it: a
    program that writes a cache itself copies all of it."""
    m, count = self.matrices, self.matrices.count
    run = compiled(m, self.device)
    look_backs = [(taps - 1) * dilation for taps, dilation in zip(m.taps, m.dilations, strict=True)]
    widths = [len(w[0]) // taps for w, taps in zip(m.rows, m.taps, strict=True)]
    self.linear_caches = linear_caches = [
      self.zeros(look_back + self.positions, c) for look_back, c in zip(look_backs, widths, strict=True)
    ]
    calls = []
    for start in range(0, self.positions, count):
      now = slice(start, start + count)
      cache = [
        [cache[start + n * dilation :][:count] for n in range(taps - 1)]
        for cache, taps, dilation in zip(linear_caches, m.taps, m.dilations, strict=True)
      ]
      news = [cache[look_back + start :][:count] for cache, look_back in zip(linear_caches, look_backs, strict=True)]
      calls.append(([cond[now] for cond in self.cond], self.noise[now], cache, news, self.codes[1:][now]))

    def frame():
      code = self.codes[0]
      for cond, noise, cache, news, codes in calls:
        drawn, inputs = run(code, cond, noise, cache)
        codes.copy_(drawn)
        torch._foreach_copy_(news, inputs)
        code = drawn[-1]
      self.codes[0].copy_(code)
      for cache in linear_caches:
        cache[: -self.positions] = cache[self.positions :].clone()

    return frame

  def resample(self, codes: np.ndarray, cond, noise: Tensor, steps: range) -> np.ndarray:
    flat = rearrange(tensor(codes, self.device, torch.long), "1 t i j k -> 1 (t i j) k")
    previous = F.pad(flat, (0, 0, 1, 0), value=self.empty)
    cond = [share.flatten(0, 1).T[None] for share in cond]
    noise = noise.flatten(0, 2)
    for step in steps:
      seen = slice(max(0, step + 1 - self.decoder.receptive_field), step + 1)
      logits = self.decoder(previous[:, seen], tuple(share[..., seen] for share in cond))
      previous[0, step + 1] = (logits[0, ..., -1] + noise[step]).argmax(-1)
    return previous[0, 1:].to(torch.uint8).cpu().numpy().reshape(codes.shape)
