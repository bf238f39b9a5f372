"""PyTorch against ours, in turns in one process, with the same weights and noise: for cpu_ratios.py and gpu_suite.py.

Needs the environment that `make venv-peer` makes.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import models, timing, torch_sampling
from benchmarks.peer_torch import SIZES
from benchmarks.torch_far import FARPeer
from benchmarks.torch_mar import MARPeer
from benchmarks.torch_training import MARTrainer
from nwt_jax.generate import far, mar
from nwt_jax.generate.options import configure

FRAMES = {"tiny": 4, "demo": 8, "full": 1}
CLIPS = 2  # in an update


def against_ours(family: str, size: str, seconds: float, precision: str = "float32") -> dict:
  """Sampling at batch 1, and of MAR an update of its decoder. Returns: `ratios` (their time by ours), `equal` codes."""
  device = "cpu" if jax.default_backend() == "cpu" else "cuda"
  module = models.model(family, SIZES[size])
  params = models.parameters(module)
  found = {"version": torch.__version__, **sampling(family, module, params, FRAMES[size], device, precision, seconds)}
  if family == "mar":
    found["training"] = training(module, params, FRAMES[size], device, seconds)
  return found


def sampling(family: str, module, params, frames: int, device: str, precision: str, seconds: float) -> dict:
  """Our way with random weights is the one in turn: guesses are worth something with trained ones only."""
  keys, settings = jax.random.split(jax.random.key(0), 1), configure(precision=precision)
  inputs = models.batch(module, frames, 1)
  told = jax.jit(functools.partial(module.apply, method="condition"))(params, *models.conditions(inputs))
  sampler = {"mar": mar, "far": far}[family]
  step = functools.partial(sampler.sample_chunk, module, **({"parallel": False} if family == "mar" else {}))
  step = jax.jit(step, compiler_options=dict(settings.compiler_options))
  weights = jax.jit(functools.partial(sampler.fold, module, dtype=settings.dtype))(params)
  state = sampler.init_state(module, 1, settings.dtype)
  ways = {"ours": lambda: step(weights, state, told, keys, jnp.int32(0), jnp.float32(1))[0]}
  peer = {"mar": MARPeer, "far": FARPeer}[family](params, module, device, getattr(torch, precision))
  loaded = peer.load(told, models.clip_noise(module, keys, frames))
  for mode in torch_sampling.MODES[1:]:
    if torch_sampling.unavailable(mode, device) is None:
      ways |= {
        name: run for name, run in threaded(mode, lambda m=mode: peer.sample(*loaded, frames, m), device).items()
      }
  codes = {name: np.asarray(run()) for name, run in ways.items()}
  rounds = timing.take_turns(ways, seconds, warm=1)
  return {
    "frames": frames,
    "ratios": {name: timing.ratio(rounds, name, "ours") for name in ways if name != "ours"},
    "equal": {name: float(np.mean(found == codes["ours"])) for name, found in codes.items()},
    "microseconds a frame": {name: timing.spread([turn[name] * 1e6 / frames for turn in rounds]) for name in ways},
  }


def threaded(mode: str, run, device: str) -> dict:
  """On a CPU a way for one thread and one for all of them: narrow models are faster with one."""
  if device != "cpu":
    return {mode: run}

  def with_threads(count):
    torch.set_num_threads(count)
    return run()

  counts = sorted({1, timing.machine()["cores"]})
  return {f"{mode}, {n} thread{'s' if n > 1 else ''}": functools.partial(with_threads, n) for n in counts}


def training(module, params, frames: int, device: str, seconds: float) -> dict:
  """An update of MAR's decoder: teacher-forced, backward, Adam."""
  frames = max(frames, 2)
  inputs = models.batch(module, frames, CLIPS)
  told = jax.jit(functools.partial(module.apply, method="condition"))(params, *models.conditions(inputs))
  state, update = models.decoder_training(module, params)
  update = jax.jit(update)
  ways, losses = {"ours": lambda: update(state, inputs["codes"], told)[1]}, {}
  losses["ours"] = float(ways["ours"]())
  for mode in ("eager", "compile"):
    if torch_sampling.unavailable(mode, device) is None:
      trainer = MARTrainer(params, module, device, torch.float32, mode == "compile")
      batch = trainer.load(inputs["codes"], told)
      losses[mode] = float(trainer.update(*batch))
      ways |= threaded(mode, lambda trainer=trainer, batch=batch: float(trainer.update(*batch)), device)
  rounds = timing.take_turns(ways, seconds, warm=1)
  return {
    "clips": CLIPS,
    "frames": frames,
    "losses before": losses,
    "ratios": {name: timing.ratio(rounds, name, "ours") for name in ways if name != "ours"},
    "milliseconds": {name: timing.spread([turn[name] * 1e3 for turn in rounds]) for name in ways},
  }
