"""Everything that wants a GPU, in one run on one card; no part is begun after eight minutes (--budget).

  python -m benchmarks.gpu_suite --json=benchmarks/results/gpu.json
  python -m benchmarks.gpu_suite --size=tiny --json=FILE    # the same on a CPU, to see that it runs

Weights are random, of the paper's size, so no data is needed; with random weights few guesses are right, and what
several positions at once are worth shows on the shipped model alone. Each figure stands beside its limit: the time in
which the card reads the weights that a step needs, or does its products. After every part the file is written; parts
that the time left does not allow are named in it.
"""

import functools
import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import models, timing
from nwt_jax import build, cli
from nwt_jax.api import NWT
from nwt_jax.errors import InputError
from nwt_jax.generate import far, mar, mar_reference
from nwt_jax.generate.options import sampling_options
from nwt_jax.io import audio_stream
from nwt_jax.train.stages import abstract

# Of the data sheets: bytes a second, and products of bfloat16 matrices (a multiply-add is two) a second.
CARDS = {
  "H100 80GB HBM3": (3.35e12, 989e12),
  "H200": (4.8e12, 989e12),
  "A100-SXM4-40GB": (1.555e12, 312e12),
  "A100-SXM4-80GB": (2.039e12, 312e12),
}
TRAINING = {"far": 64, "mar": 64, "dvae_lwt": 4}  # clips, at bfloat16 within 75 GB (docs/cost.md)


def define_flags() -> None:
  """Defines this program's options; in a function, so that others can import the file beside their own."""
  flags.DEFINE_string("json", None, "JSON file to write.")
  flags.DEFINE_enum("size", "full", ["full", "tiny"], "The paper's size, or one for a dry run.")
  flags.DEFINE_float("budget", 480.0, "Seconds for all parts; a part is not begun after them.")
  flags.DEFINE_multi_string("part", [], "A part to run; may be given again; without: all.")


def config(family: str) -> Any:
  return importlib.import_module(f"nwt_jax.configs.{family}").get_config("" if flags.FLAGS.size == "full" else "tiny")


def card() -> tuple[float, float] | None:
  """Bytes and products a second that the data sheet promises; None for a device without an entry."""
  kind = jax.devices()[0].device_kind
  return next((limits for name, limits in CARDS.items() if name in kind), None)


def size_of(tree: Any) -> int:
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def seconds(run: Callable, rounds: int = 5) -> dict:
  """Of one way by itself: median and quartiles, after three calls to warm up."""
  return timing.spread([turn["it"] for turn in timing.take_turns({"it": run}, 0.0, least=rounds)])


def memcodes() -> dict:
  """MAR, batch 1: microseconds a Memcode by stage, and the share of codes that the float32 reference draws."""
  model, frames = models.model("mar", "" if flags.FLAGS.size == "full" else "tiny"), 4
  params = models.parameters(model)
  options, key = sampling_options(), jax.random.split(jax.random.key(0), 1)
  draw = np.random.default_rng(0)
  shape = (1, frames, model.positions, model.linear_dim)
  cond = tuple(jnp.asarray(draw.standard_normal(shape, np.float32)) for _ in model.blocks)
  flagged = dict(options.compiler_options)
  exact = jax.jit(functools.partial(mar_reference.sample_chunk, model))
  reference = np.asarray(exact(params, mar_reference.init_state(model, 1), cond, key, jnp.int32(0), jnp.float32(1))[0])

  def way(dtype, kind: str, options: dict, most: int = mar.TILE):
    if kind == "plain":
      step = jax.jit(functools.partial(mar_reference.sample_chunk, model), compiler_options=options)
      weights, state = jax.tree.map(lambda x: x.astype(dtype), params), mar_reference.init_state(model, 1, dtype)
    else:
      step = jax.jit(functools.partial(mar.sample_chunk, model, parallel=kind == "together"), compiler_options=options)
      weights = jax.jit(functools.partial(mar.fold, model, dtype=dtype, most=most))(params)
      state = mar.init_state(model, 1, dtype, most)
    inputs = tuple(c.astype(dtype) for c in cond) if kind == "plain" else cond
    return lambda: step(weights, state, inputs, key, jnp.int32(0), jnp.float32(1))

  found = {}
  stages = {
    "S0 plain scan, XLA's defaults": ("plain", {}, 8),
    "S1a plain scan, one CUDA graph": ("plain", flagged, 8),
    "S1b folded, taps early": ("in turn", flagged, 8),
    "S1c 8 together": ("together", flagged, 8),
    "S1c 56 together": ("together", flagged, 56),
  }
  for name, (kind, options, most) in stages.items():
    for dtype in (jnp.float32, jnp.bfloat16):
      run = way(dtype, kind, options, most)
      codes, state = run()
      took = seconds(lambda run=run: run()[0], 3)
      entry = {key: value * 1e6 / frames / model.positions for key, value in took.items() if key != "rounds"}
      entry["equal"] = float(np.mean(np.asarray(codes) == reference))
      if kind == "together":
        evaluations = int(state.num_evals)
        entry["microseconds an evaluation"] = took["median"] * 1e6 / evaluations
        entry["accepted an evaluation"] = frames * model.positions / evaluations
      if limits := card():
        each = 1 / entry.get("accepted an evaluation", 1.0)
        # A plain step reads every tap of the decoder: as many bytes as taps early with tiles of one position
        read = models.read_a_memcode(model, 1 if kind == "plain" else most, dtype, each)
        entry["limit"] = read / limits[0] * 1e6
      found[f"{name}, {jnp.dtype(dtype).name}"] = entry
  return found


def aggregate() -> dict:
  """MAR, many clips at once: microseconds of the card's time a Memcode."""
  model = models.model("mar", "" if flags.FLAGS.size == "full" else "tiny")
  batch, found = 256 if flags.FLAGS.size == "full" else 4, {}
  weights = jax.jit(functools.partial(mar.fold, model, dtype=jnp.bfloat16))(models.parameters(model))
  cond = tuple(jnp.zeros((batch, 1, model.positions, model.linear_dim), jnp.bfloat16) for _ in model.blocks)
  for name, parallel in (("in turn", False), ("8 together", True)):
    step = jax.jit(
      functools.partial(mar.sample_chunk, model, parallel=parallel),
      compiler_options=dict(sampling_options().compiler_options),
    )
    state, keys = mar.init_state(model, batch, jnp.bfloat16), jax.random.split(jax.random.key(0), batch)
    run = lambda step=step, state=state, keys=keys: step(weights, state, cond, keys, jnp.int32(0), jnp.float32(1))[0]
    took = seconds(run, 3)
    found[name] = {"clips": batch, "microseconds a Memcode": took["median"] * 1e6 / batch / model.positions}
  return found


def frames() -> dict:
  """FAR, batch 1: frames a second."""
  model, count = models.model("far", "" if flags.FLAGS.size == "full" else "tiny"), 32
  params, found = models.parameters(model), {}
  shape = (1, count, *model.decoder_grid, model.linear_dim)
  cond = tuple(jnp.zeros(shape, jnp.float32) for _ in model.blocks)
  for dtype in (jnp.float32, jnp.bfloat16):
    weights = jax.jit(functools.partial(far.fold, model, dtype=dtype))(params)
    step = jax.jit(
      functools.partial(far.sample_chunk, model), compiler_options=dict(sampling_options().compiler_options)
    )
    state, key = far.init_state(model, 1, dtype), jax.random.split(jax.random.key(0), 1)
    took = seconds(
      lambda weights=weights, step=step, state=state, key=key: step(
        weights, state, cond, key, jnp.int32(0), jnp.float32(1)
      )[0]
    )
    entry = {"frames a second": count / took["median"], "low": count / took["high"], "high": count / took["low"]}
    if limits := card():
      entry["limit"] = limits[0] / size_of(weights)
    found[jnp.dtype(dtype).name] = entry
  return found


def talking(family: str, precision: str, positions: int | None) -> NWT:
  """A model of random weights, as a release would be loaded."""
  stage1, stage2 = config("dvae_lwt"), config(family)
  dvae = build.dvae(stage1.model)
  grid = stage2.model.grid
  height, width = (side * dvae.downsampling for side in grid)
  key = jax.random.key(0)
  video = jnp.zeros((1, 2, height, width, 3))
  shapes = jax.eval_shape(lambda: dvae.init(key, video, jnp.zeros((1, 2), jnp.int32), None, "argmax"))
  prior = build.prior(family, stage2.model)
  cards = {"episodes": ["one"], "model": {}}, {"video": {"fps": 30, "height": height, "width": width}}
  return NWT(
    family,
    prior,
    models.parameters(prior),
    cards[0],
    dvae,
    models.fill(shapes),
    cards[1],
    sampling_options(precision=precision, positions=positions),
  )


def pixels() -> dict:
  """From sound to pixels: frames a second of a clip of 12 s, after one to warm up."""
  found, samples = {}, np.random.default_rng(0).normal(0, 0.1, 12 * audio_stream.SAMPLE_RATE).astype(np.float32)
  for family, positions in (("far", None), ("mar", 1), ("mar", None)):
    model = talking(family, "bfloat16", positions)
    for _ in range(2):
      began, count = time.perf_counter(), 0
      for chunk in model.generate(samples, audio_stream.SAMPLE_RATE):
        count += len(chunk.frames)
      took = time.perf_counter() - began
    name = f"{family}, {model.options.positions} places" if family == "mar" else family
    found[name] = {"frames a second": count / took, "settings": str(model.options)}
  return found


def shipped() -> dict:
  """The shipped talker, from sound to pixels, with what several positions at once are worth there."""
  found = {}
  for positions in (1, 8, 56):
    model = NWT.from_checkpoint(None, "mar", positions=positions)
    for _ in range(2):
      began = time.perf_counter()
      count = sum(
        len(chunk.frames) for chunk in model.generate(Path(mar.__file__).parents[1] / "released/talker/demo.wav")
      )
      took = time.perf_counter() - began
    found[f"{positions} at once"] = {"frames a second": count / took}
  return found


def training() -> dict:
  """Updates a second at full size in bfloat16, and the share of the card's products that they are."""
  recorded = json.loads((Path(__file__).parent / "results" / "cost.json").read_text())["configs"]
  found = {}
  for name, clips in TRAINING.items():
    setting = config(name)
    setting.train.precision = "bfloat16"
    clips = clips if flags.FLAGS.size == "full" else 2
    shapes, step = abstract.update(setting)
    state = models.fill(shapes)
    batch = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), abstract.batch(setting, clips))
    if flags.FLAGS.size == "tiny" and "video" in batch:
      batch["video"] = batch["video"][:, :, :32, :24]
    compiled = jax.jit(step, donate_argnums=0)
    for _ in range(3):
      state, metrics = jax.block_until_ready(compiled(state, batch))
    rounds = []
    for _ in range(5):
      began = time.perf_counter()
      state, metrics = jax.block_until_ready(compiled(state, batch))
      rounds.append(time.perf_counter() - began)
    entry = {"clips": clips, "updates a second": 1 / float(np.median(rounds)), "seconds": timing.spread(rounds)}
    if (limits := card()) and flags.FLAGS.size == "full":
      work = recorded[name]["flops"]["bfloat16"] * clips / recorded[name]["batch"]
      entry["share of the card's products"] = work / entry["seconds"]["median"] / limits[1]
    found[name] = entry
    del state, compiled
  return found


def forms() -> dict:
  """The forms of layers that training uses, against others."""
  from benchmarks import forms as measured

  return measured.measure("small" if flags.FLAGS.size == "tiny" else "paper", "bfloat16", 0.5)


def torch() -> dict:
  """PyTorch on the same device: eager, compiled, CUDA graphs."""
  try:
    from benchmarks.torch_peer import ratios
  except ImportError as error:
    return {"not run": str(error)}
  size = "" if flags.FLAGS.size == "full" else "tiny"
  return {family: ratios.against_ours(family, size or "full", 3.0) for family in ("mar", "far")}


PARTS = (memcodes, shipped, frames, pixels, training, aggregate, torch, forms)


def main(_) -> None:
  path, names = timing.writable(flags.FLAGS.json), [part.__name__ for part in PARTS]
  if unknown := [name for name in flags.FLAGS.part if name not in names]:
    raise InputError(f"--part={unknown[0]} is no part; choose from {', '.join(names)}")
  began, results = time.perf_counter(), {"machine": timing.machine(), "size": flags.FLAGS.size, "parts": {}}
  for part in PARTS:
    name = part.__name__
    if flags.FLAGS.part and name not in flags.FLAGS.part:
      continue
    left = flags.FLAGS.budget - (time.perf_counter() - began)
    start = time.perf_counter()
    if left <= 0:
      results["parts"][name] = {"not run": "no time left"}
    else:
      try:
        results["parts"][name] = part()
      except Exception as error:  # one part that fails must not lose the others, nor the card's time
        results["parts"][name] = {"failed": f"{type(error).__name__}: {error}"[:500]}
    results["parts"][name]["took"] = round(time.perf_counter() - start, 1)
    print(name, json.dumps(results["parts"][name], indent=1), flush=True)
    if path:
      path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
  define_flags()
  cli.run(main)
