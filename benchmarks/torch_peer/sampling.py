"""What the PyTorch peers share: sampling a clip step by step, naive, cached, compiled or in a CUDA graph.

  peer = MARPeer(params, model, "cpu", torch.float32)       # or FARPeer: the same interface
  codes = peer.sample(condition, noise, frames, "eager")    # uint8 [1 t i j k], NumPy

Args: params, model: our variables and our linen module. condition: `model.apply(..., method="condition")` of one clip,
of `frames` frames or more. noise: `models.clip_noise` of it, times the temperature where that is not 1. Both are JAX or
NumPy arrays, or what `peer.load(condition, noise)` returns, so that timed calls transfer nothing.

Every call starts a clip, and returns when its codes are on the host. A mode's first call compiles or captures.

On CPU set OMP_WAIT_POLICY=PASSIVE before torch is imported wherever anything else runs: with two threads on two busy
cores, waiting by spinning took 10 (MAR) and 150 times (FAR) as long at demo size. `torch.set_num_threads` counts too.
On a GPU set `torch.backends.cudnn.allow_tf32 = False` for equal codes in float32, and `torch.backends.cudnn.benchmark`.
"""

import shutil
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.torch_peer.models import in_dtype, tensor

MODES = ("naive", "eager", "compile", "graph", "compile+graph")


def unavailable(mode: str, device: str) -> str | None:
  """Why a mode cannot run on a device of this machine, in one line; None where it can."""
  if "graph" in mode and torch.device(device).type != "cuda":
    return "a CUDA graph needs a GPU"
  if "compile" in mode and torch.device(device).type == "cpu" and not shutil.which("g++"):
    return "torch.compile on CPU needs g++, which is not here"
  return None


def compiled(function: Callable, device: torch.device) -> Callable:
  """`torch.compile` with what is fastest for one clip.

  CPU: weights are constants, laid out once, and the program around the kernels is C++. GPU: autotuned, without graphs
  of its own, which would copy caches in and out in every step: `capture` needs no copies."""
  if device.type == "cpu":
    return torch.compile(function, fullgraph=True, dynamic=False, options={"freezing": True, "cpp_wrapper": True})
  return torch.compile(function, fullgraph=True, dynamic=False, mode="max-autotune-no-cudagraphs")


def capture(frame: Callable[[], None]) -> Callable[[], None]:
  """A frame as one CUDA graph. It reads and writes the same addresses in every frame, so that replaying it goes on."""
  stream = torch.cuda.Stream()
  stream.wait_stream(torch.cuda.current_stream())
  with torch.cuda.stream(stream):  # cuBLAS chooses kernels, and compilers compile, before the capture
    for _ in range(3):
      frame()
  torch.cuda.current_stream().wait_stream(stream)
  torch.cuda.synchronize()
  graph = torch.cuda.CUDAGraph()
  with torch.cuda.graph(graph):
    frame()
  return graph.replay


class Peer:
  """What MARPeer and FARPeer share: a frame's inputs are copied to fixed places, `frame` draws it into `drawn`."""

  codes: Tensor  # the codes before a frame where sampling starts a clip
  drawn: Tensor  # the codes of the frame that was drawn last
  cond: list[Tensor]  # the conditioning's share of a frame, a block
  noise: Tensor  # of a frame; MAR adds the logits' bias to it

  def __init__(self, decoder: nn.Module, model, device: str, dtype: torch.dtype):
    self.device, self.dtype, self.grid = torch.device(device), dtype, model.grid
    self.decoder = in_dtype(decoder, self.device, dtype).eval().requires_grad_(False)
    self.empty, self.exact = model.num_codes, self.decoder.logits.weight.dtype
    self.programs: dict[str, Callable[[], None]] = {}

  def zeros(self, *shape: int) -> Tensor:
    return torch.zeros(*shape, device=self.device, dtype=self.dtype)

  def load(self, condition, noise) -> tuple[tuple[Tensor, ...], Tensor]:
    """The inputs of a clip on the device, [t ...]; what is there already stays as it is."""
    if isinstance(noise, Tensor):
      return condition, noise
    cond = tuple(tensor(share, self.device, self.dtype)[0] for share in condition)
    return cond, tensor(noise, self.device, self.exact)[0]

  def sample(self, condition, noise, frames: int, mode: str = "eager") -> np.ndarray:
    """The first frames of a clip, uint8 [1 t i j k]; see the head of this file."""
    with torch.inference_mode():
      cond, noise = self.load(condition, noise)
      out = torch.empty(frames, *self.grid, noise.shape[-2], dtype=torch.uint8, device=self.device)
      if mode == "naive":
        steps = frames * self.steps_a_frame
        return self.naive(out.cpu().numpy()[None], cond, noise, 0, steps)
      if mode not in self.programs:
        self.programs[mode] = self.program(mode)
      frame = self.programs[mode]
      self.begin()
      for t in range(frames):
        for share, whole in zip(self.cond, cond, strict=True):
          share.copy_(whole[t].view_as(share))
        self.take_noise(noise[t])
        frame()
        out[t] = self.drawn.view_as(out[t])
      return out.cpu().numpy()[None]

  def naive(self, codes: np.ndarray, condition, noise, first: int, steps: int) -> np.ndarray:
    """Draws `steps` steps (MAR: Memcodes, FAR: frames) from step `first` on, each through its whole receptive field.

    Args: codes: a clip whose steps before `first` are given, [1 t i j k].
    Returns: a copy of `codes` with these steps drawn."""
    with torch.inference_mode():
      cond, noise = self.load(condition, noise)
      return self.resample(codes, cond, noise, range(first, first + steps))
