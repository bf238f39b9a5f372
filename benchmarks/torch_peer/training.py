"""One update of MAR's decoder in PyTorch: teacher-forced cross-entropy, backward, Adam as C.2.2 has it.

  trainer = MARTrainer(params, model, "cpu", torch.float32)
  loss = trainer.update(codes, condition)                   # codes [b t i j k], condition as `MAR.condition` returns it

Conditioning is given, and not trained: `models.decoder_training` is the same update of ours.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from benchmarks.models import ADAM
from benchmarks.torch_peer.models import MARDecoder, in_dtype, tensor


class MARTrainer:
  """Args: params: our variables. model: our module. compile: forward and backward by torch.compile."""

  def __init__(self, params, model, device: str = "cpu", dtype: torch.dtype = torch.float32, compile: bool = False):
    self.device, self.dtype, self.empty = torch.device(device), dtype, model.num_codes
    self.decoder = in_dtype(MARDecoder(params, model), self.device, dtype).train()
    adam = {"lr": ADAM["learning_rate"], "betas": (ADAM["b1"], ADAM["b2"]), "eps": ADAM["eps"]}
    self.optimiser = torch.optim.Adam(self.decoder.parameters(), fused=True, **adam)
    self.loss = torch.compile(self.cross_entropy, fullgraph=True, dynamic=False) if compile else self.cross_entropy

  def load(self, codes, condition) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A batch on the device, [b w k] and [b f w]; what is there already stays as it is."""
    if isinstance(codes, Tensor):
      return codes, condition
    flat = rearrange(tensor(codes, self.device, torch.long), "b t i j k -> b (t i j) k")
    shares = (rearrange(tensor(share, self.device, self.dtype), "b t p f -> b f (t p)") for share in condition)
    return flat, tuple(share.contiguous() for share in shares)

  def cross_entropy(self, codes: Tensor, cond: tuple[Tensor, ...]) -> Tensor:
    previous = F.pad(codes[:, :-1], (0, 0, 1, 0), value=self.empty)
    logits = self.decoder(previous, cond)  # [b k n w]
    return F.cross_entropy(logits.transpose(1, 2), codes.transpose(1, 2))

  def update(self, codes, condition) -> Tensor:
    """Returns: the loss before the update, on the device."""
    loss = self.loss(*self.load(codes, condition))
    self.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    self.optimiser.step()
    return loss.detach()
