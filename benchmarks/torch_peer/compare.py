"""PyTorch at batch 1 with our weights and our noise: time a Memcode (MAR) or a frame (FAR), and whether codes are ours.

  make venv-peer
  .venv-peer/bin/python -m benchmarks.torch_peer.compare --family=mar --size=demo --frames=8 --threads=1 --json=FILE

Modes, in rounds that rotate their order: eager (cached), compile, graph, compile+graph; and naive, which computes the
whole receptive field again for each of a few last steps. Of MAR also updates of its decoder, eager and compiled.
Weights are random: no time depends on them. sampling.py and training.py say how other programs call them.
"""

import datetime
import importlib.util
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

from absl import flags

from nwt_jax import cli
from nwt_jax.errors import InputError

SIZES = {"tiny": "tiny", "demo": "demo", "full": ""}  # and their argument to configs/mar.py and far.py
UNITS = {"mar": "Memcode", "far": "frame"}


def define_flags() -> None:
  """Defines this program's options; in a function, so that others can import the file beside their own."""
  flags.DEFINE_enum("family", None, ["mar", "far"], "Which prior.")
  flags.DEFINE_enum("size", "demo", list(SIZES), "Which config of it; full is the paper's.")
  flags.DEFINE_enum("device", "cpu", ["cpu", "cuda"], "Where PyTorch computes. Codes are checked where JAX does.")
  flags.DEFINE_enum("dtype", "float32", ["float64", "float32", "bfloat16"], "What PyTorch computes in.")
  flags.DEFINE_integer("frames", 8, "Frames of a sample, and of a training clip.", lower_bound=2)
  flags.DEFINE_integer("rounds", 5, "How often each mode is timed.", lower_bound=2)
  flags.DEFINE_integer("threads", 0, "PyTorch's on CPU; 0: as many as it takes by itself.", lower_bound=0)
  flags.DEFINE_integer("naive_steps", 4, "Steps of the naive mode; 0: none.", lower_bound=0)
  flags.DEFINE_integer("clips", 2, "Clips in an update; 0: no updates.", lower_bound=0)
  flags.DEFINE_string("json", None, "JSON file to write.")


def before_torch() -> None:
  """What has to be said before PyTorch is imported beside JAX."""
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take the card's memory for itself
  # Threads of OpenMP that wait by spinning take the cores from JAX, from neighbours and from each other.
  os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def timed(calls: dict[str, Callable[[], object]], rounds: int, scale: float) -> dict[str, dict]:
  """Times of each call, in turns, in units of 1 / scale seconds."""
  from benchmarks import timing

  turns = timing.take_turns(calls, 0.0, least=rounds, warm=1) if calls else []
  return {name: timing.spread([turn[name] * scale for turn in turns]) for name in calls}


def ours_in(dtype: str) -> str:
  """What our model computes in, where PyTorch computes in `dtype`."""
  return "float64" if dtype == "float64" else "float32"


def log(name: str, text: str) -> None:
  print(f"{name}: {text}", flush=True)


def device_name(device: str) -> str:
  """The card, or the processor as Linux names it."""
  import torch

  if device == "cuda":
    return torch.cuda.get_device_name()
  cpu = Path("/proc/cpuinfo")
  lines = cpu.read_text().splitlines() if cpu.exists() else []
  return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def sampling(module, params, options) -> dict:
  """Times and checks every mode. Returns: mode -> times, equality, or why it was not run."""
  import jax
  import torch

  from benchmarks import models
  from benchmarks.torch_peer import sampling as torch_sampling
  from benchmarks.torch_peer.far import FARPeer
  from benchmarks.torch_peer.mar import MARPeer

  frames, dtype, keys = options.frames, getattr(torch, options.dtype), jax.random.split(jax.random.key(0), 1)
  inputs = models.batch(module, frames, 1, dtype=ours_in(options.dtype))
  cond = jax.jit(lambda params, *args: module.apply(params, *args, method="condition"))
  cond, noise = cond(params, *models.conditions(inputs)), models.clip_noise(module, keys, frames)
  peer = {"mar": MARPeer, "far": FARPeer}[options.family](params, module, options.device, dtype)
  loaded, found, calls = peer.load(cond, noise), {}, {}
  scale = 1e6 / (frames * peer.steps_a_frame)
  for mode in torch_sampling.MODES[1:]:
    why = torch_sampling.unavailable(mode, options.device)
    if why:
      found[mode] = {"skipped": why}
      log(mode, why)
      continue
    start = time.perf_counter()
    codes = peer.sample(*loaded, frames, mode)
    found[mode] = {"first_call_seconds": round(time.perf_counter() - start, 1)}
    found[mode] |= models.equality(module, params, inputs, codes, keys)
    calls[mode] = lambda mode=mode: peer.sample(*loaded, frames, mode)
    log(mode, f"{found[mode]['equal']:.5f} of the codes equal ours; first call {found[mode]['first_call_seconds']} s")
  for mode, times in timed(calls, options.rounds, scale).items():
    found[mode]["microseconds"] = times
  if options.naive_steps:
    codes, every = peer.sample(*loaded, frames), frames * peer.steps_a_frame
    steps = min(options.naive_steps, every)
    first = every - steps
    naive = lambda: peer.naive(codes, *loaded, first, steps)
    by_step = lambda codes: codes.reshape(every, -1)[first:]
    found["naive"] = {
      "steps": steps,
      "window": min(peer.decoder.receptive_field, first + 1),
      "receptive_field": peer.decoder.receptive_field,
      "equal": float((by_step(naive()) == by_step(codes)).mean()),  # to the eager ones
      "microseconds": timed({"naive": naive}, min(options.rounds, 3), 1e6 / steps)["naive"],
    }
  for mode, entry in found.items():
    if "microseconds" in entry:
      times = entry["microseconds"]
      log(mode, f"{times['median']:.1f} us a {UNITS[options.family]} ({times['low']:.1f} to {times['high']:.1f})")
  return found


def training(module, params, options) -> dict:
  """Times updates of MAR's decoder, and compares the losses of the first three with ours."""
  import jax
  import torch

  from benchmarks import models
  from benchmarks.torch_peer import sampling as torch_sampling
  from benchmarks.torch_peer.training import MARTrainer

  inputs = models.batch(module, options.frames, options.clips, dtype=ours_in(options.dtype))
  cond = jax.jit(lambda params, *args: module.apply(params, *args, method="condition"))
  cond = cond(params, *models.conditions(inputs))
  state, update = models.decoder_training(module, params)
  update, ours = jax.jit(update), []
  for _ in range(3):
    state, loss = update(state, inputs["codes"], cond)
    ours.append(float(loss))
  found, calls = {}, {}
  for mode in ("eager", "compile"):
    why = torch_sampling.unavailable(mode, options.device)
    if why:
      found[mode] = {"skipped": why}
      continue
    trainer = MARTrainer(params, module, options.device, getattr(torch, options.dtype), mode == "compile")
    batch = trainer.load(inputs["codes"], cond)
    start, theirs = time.perf_counter(), [float(trainer.update(*batch)) for _ in range(3)]
    found[mode] = {"first_calls_seconds": round(time.perf_counter() - start, 1), "loss": theirs, "loss_ours": ours}
    gaps = [abs(a / b - 1) for a, b in zip(theirs, ours, strict=True)]
    found[mode] |= {"relative_gap": gaps[0], "relative_gap_after_updates": gaps[2]}
    calls[mode] = lambda trainer=trainer, batch=batch: float(trainer.update(*batch))  # waits for the device
    log(f"update, {mode}", f"loss {theirs[0]:.6f}, {gaps[0]:.1e} from ours; after two updates {gaps[2]:.1e} (relative)")
  for mode, times in timed(calls, options.rounds, 1e3).items():
    found[mode]["milliseconds"] = times
    log(f"update, {mode}", f"{times['median']:.1f} ms ({times['low']:.1f} to {times['high']:.1f})")
  return found


def main(_) -> None:
  options = flags.FLAGS
  if importlib.util.find_spec("torch") is None:
    raise InputError("PyTorch is not in this environment: make venv-peer, and run .venv-peer/bin/python")
  before_torch()
  import jax
  import numpy as np
  import torch

  from benchmarks import models

  if options.device == "cuda" and not torch.cuda.is_available():
    raise InputError("--device=cuda: PyTorch finds no GPU; give --device=cpu")
  if options.threads:
    torch.set_num_threads(options.threads)
  torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # float32 means float32
  torch.backends.cudnn.benchmark = True
  jax.config.update("jax_enable_x64", options.dtype == "float64")
  module = models.model(options.family, SIZES[options.size])
  params = models.parameters(module, dtype=ours_in(options.dtype))
  result = {
    "date": datetime.date.today().isoformat(),
    "family": options.family,
    "size": options.size,
    "dtype": options.dtype,
    "frames": options.frames,
    "unit": UNITS[options.family],
    "device": device_name(options.device),
    "threads": torch.get_num_threads(),
    "omp_wait_policy": os.environ["OMP_WAIT_POLICY"],
    "versions": {"torch": torch.__version__, "jax": jax.__version__, "numpy": np.__version__},
    "sampling": sampling(module, params, options),
  }
  if options.family == "mar" and options.clips:
    result["training"] = {"clips": options.clips, **training(module, params, options)}
  path = Path(options.json)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(result, indent=1) + "\n")
  log("written", str(path))


if __name__ == "__main__":
  define_flags()
  cli.run(main, "family", "json")
