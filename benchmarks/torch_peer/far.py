"""Sampling from FAR in PyTorch, a frame a step. The interface is in benchmarks/torch_peer/sampling.py."""

import collections
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.torch_peer.models import FARDecoder, Same2d, tensor
from benchmarks.torch_peer.sampling import Peer, capture, compiled


class FARPeer(Peer):
  """FAR, a frame a step. Graphs hold the cache at fixed addresses, other modes as a list of what was computed."""

  steps_a_frame = 1

  def __init__(self, params, model, device: str = "cpu", dtype: torch.dtype = torch.float32):
    super().__init__(FARDecoder(params, model), model, device, dtype)
    for module in self.decoder.modules():
      if isinstance(module, Same2d):
        module.patches = self.device.type == "cpu"
    self.rows = [row for block in self.decoder.blocks for row in block.rows]
    self.cond = [self.zeros(1, *model.decoder_grid, model.linear_dim) for _ in model.blocks]
    shape = (1, *model.grid, model.num_heads)
    self.noise = self.zeros(*shape, model.num_codes).to(self.exact)
    self.drawn = torch.full(shape, self.empty, device=self.device)
    self.lists = [collections.deque(maxlen=row.look_back) for row in self.rows]
    # [look_back, u, v, c] for graphs
    self.fixed = [self.zeros(row.look_back, *model.decoder_grid, row.width) for row in self.rows]

  def begin(self) -> None:
    self.drawn.fill_(self.empty)
    for cache, row, fixed in zip(self.lists, self.rows, self.fixed, strict=True):
      cache.extend(fixed.zero_()[:1].clone() for _ in range(row.look_back))

  def take_noise(self, noise: Tensor) -> None:
    self.noise.copy_(noise[None])

  def program(self, mode: str) -> Callable[[], None]:
    step = compiled(self.decoder.step, self.device) if "compile" in mode else self.decoder.step
    return capture(lambda: self.fixed_frame(step)) if "graph" in mode else lambda: self.listed_frame(step)

  def listed_frame(self, step: Callable) -> None:
    before = [
      [cache[n * row.dilation] for n in range(row.taps - 1)] for cache, row in zip(self.lists, self.rows, strict=True)
    ]
    drawn, inputs = step(self.drawn, self.cond, self.noise, before)
    self.drawn.copy_(drawn)
    for cache, x in zip(self.lists, inputs, strict=True):
      cache.append(x)

  def fixed_frame(self, step: Callable) -> None:
    before = [
      [cache[n * row.dilation][None] for n in range(row.taps - 1)]
      for cache, row in zip(self.fixed, self.rows, strict=True)
    ]
    drawn, inputs = step(self.drawn, self.cond, self.noise, before)
    self.drawn.copy_(drawn)
    for cache, x in zip(self.fixed, inputs, strict=True):
      cache.copy_(torch.cat([cache[1:], x]))

  def resample(self, codes: np.ndarray, cond, noise: Tensor, steps: range) -> np.ndarray:
    previous = F.pad(tensor(codes, self.device, torch.long)[0], (0, 0, 0, 0, 0, 0, 1, 0), value=self.empty)
    for step in steps:
      seen = slice(max(0, step + 1 - self.decoder.receptive_field), step + 1)
      logits = self.decoder(previous[seen], tuple(share[seen] for share in cond))
      previous[step + 1] = (logits[-1] + noise[step]).argmax(-1)
    return previous[1:].to(torch.uint8).cpu().numpy()[None]
