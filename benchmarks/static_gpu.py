"""Gates on what XLA makes of our programs for an H100, with no H100: `make gates`.

  JAX_PLATFORMS=cpu .venv-gates/bin/python -m benchmarks.static_gpu --json=FILE
  JAX_PLATFORMS=cpu .venv-gates/bin/python -m benchmarks.static_gpu --only=mar --show   # what runs, kernel by kernel

Nothing is allocated and nothing runs: programs are compiled at full size, batch 1, from shapes, with the options of
`nwt_jax.generate.options`. No kernel is timed or tuned; a card's own choices (cuDNN's algorithms) are not in here.

Sampling, `mar.*` (Memcodes in turn), `mar_together.*` (from a guess) and `far.*`: the program is `sample_chunk` on
CHUNK_FRAMES frames, whose arguments are folded weights, state (donated) and conditioning. `mar_whole.*` is the program
that `nwt_jax.api` calls on a GPU: from a guess, with the conditioning before it.

- kernels_per_step: launches inside the program's loops, each as often as its loops run, over the Memcodes drawn (FAR:
  kernels_per_frame, over frames). Conditions of loops count, what is outside all loops (once a chunk) does not.
- kernels_per_guess, kernels_per_block: where guesses are checked until they hold, what one check launches, and what a
  block launches besides.
- command_buffers, loops_outside: CUDA graphs that the program becomes, and loops that the host would have to drive
  because no graph holds them.
- temp_bytes: the compiler's plan for everything but arguments and results: noise of a segment, activations, copies.
- ring_copies: what is launched in a loop and writes an array of a history's shape anew instead of in place; of
  histories longer than a block, since one of a block's length is what the block wrote.

Training, `mar_train.*`, `far_train.*` and `critic.*` (an update of the dVAE with its critics and their gradient
penalty, whole): the widest convolution window, its dilation included; `train.layouts` are the layouts of inputs and
outputs of all their convolutions.
"""

import dataclasses
import functools
import importlib.util
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import compiled, cost
from nwt_jax import build, cli
from nwt_jax.api.model import CHUNK_FRAMES
from nwt_jax.errors import InputError
from nwt_jax.generate import chunks, far, mar
from nwt_jax.generate import options as configure
from nwt_jax.train.preflight import abstract

GATES = {
  "mar.kernels_per_step": ("at most", 26),
  "mar.command_buffers": ("exactly", 1),
  "mar.loops_outside": ("exactly", 0),
  "mar.temp_bytes": ("at most", 5_000_000),
  "mar.ring_copies": ("exactly", 0),
  "mar_together.command_buffers": ("exactly", 1),
  "mar_together.loops_outside": ("exactly", 0),
  "mar_together.ring_copies": ("exactly", 0),
  "mar_whole.command_buffers": ("exactly", 1),
  "mar_whole.loops_outside": ("exactly", 0),
  "far.command_buffers": ("exactly", 1),
  "far.loops_outside": ("exactly", 0),
  "far.temp_bytes": ("at most", 50_000_000),
  "mar_train.max_conv_window": ("at most", 4),
  "critic.max_conv_window": ("at most", 8),
  "train.layouts": ("exactly", "NHWC"),
}
SAMPLERS = {"far": far, "mar": mar}
TYPES = {"bfloat16": "bf16", "float32": "f32"}  # as XLA writes them
CLIPS = {"mar_train": ("mar", 8), "far_train": ("far", 8), "critic": ("dvae_lwt", 1)}  # config, and clips in its batch
# Of CUDA 13.0, as the extra `cuda13` has it. Without them XLA takes the driver for one that cannot capture loops.
VERSIONS = 'driver_version: "13.0.0" runtime_version: "13.0.0" compile_time_toolkit_version: "13.0.0"'


@dataclasses.dataclass(frozen=True)
class Programme:
  """steps: how many `step`s, "step" (a Memcode) or "frame", a call takes. histories: shapes to be updated in place."""

  lowered: Any
  steps: int
  step: str
  histories: frozenset[str]


def there() -> jax.sharding.Sharding:
  """The device that is not there, with its driver."""
  return cost.h100(cost.TARGET.read_text().replace("gpu_device_info {", f"gpu_device_info {{\n  {VERSIONS}", 1))


def lower(function: Callable, *shapes: Any, donate: int | None = None) -> Any:
  device = there()
  return jax.jit(function, donate_argnums=donate, in_shardings=device, out_shardings=device).lower(*shapes)


def sampling(family: str, dtype: jnp.dtype, places: int = 1, whole: bool = False) -> Programme:
  """A chunk of one clip's sampling.

  Args: places: Memcodes that MAR draws together; 1: in turn. whole: with the conditioning, as our API calls it."""
  sampler, array, frames = SAMPLERS[family], jax.ShapeDtypeStruct, CHUNK_FRAMES
  model = build.prior(family, cost.read(family).model)
  params = jax.eval_shape(lambda: build.init_prior(model, jax.random.key(0)))
  block, chunk = (), sampler.sample_chunk
  if family == "mar":
    block, chunk = (places if places > 1 else mar.BLOCK,), functools.partial(chunk, parallel=places > 1)
  weights = jax.eval_shape(lambda p: sampler.fold(model, p, dtype, *block), params)
  state = jax.eval_shape(lambda: sampler.init_state(model, 1, dtype, *block))
  keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
  seen = frames + (model.look_back + model.look_ahead if whole else 0)
  mel = array((1, seen * model.mel_stride, build.MEL_BINS), jnp.float32)
  style, valid = array((1, model.style_dim), jnp.float32), array((1, seen), jnp.float32)
  episode = array((1, seen), jnp.int32)
  rest = keys, array((), jnp.int32), array((), jnp.float32)  # first frame, temperature
  if whole:
    lowered = lower(chunks.make_chunk(model, chunk, frames), params, weights, state, mel, valid, style, episode, *rest)
  else:
    condition = lambda *args: model.apply(*args, method="condition")
    told = jax.eval_shape(condition, params, mel, style, episode)
    lowered = lower(lambda *args: chunk(model, *args), weights, state, told, *rest, donate=1)
  if family == "far":
    return Programme(lowered, frames, "frame", frozenset())
  rings = [ring for ring in state.history if ring.shape[1] > 1]
  return Programme(lowered, frames * model.places, "step", as_printed(rings))


def as_printed(arrays: list[jax.ShapeDtypeStruct]) -> frozenset[str]:
  """Shapes as `compiled.plain_shape` has them."""
  texts = (f"{TYPES[a.dtype.name]}[{','.join(map(str, a.shape))}]" for a in arrays)
  return frozenset(compiled.plain_shape(text) for text in texts)


def mar_programme(dtype: jnp.dtype) -> Programme:
  """The program that `mar.*` is about: Memcodes in turn, taps on the past computed early."""
  return sampling("mar", dtype)


def training(part: str) -> Any:
  """An update as training runs it."""
  name, clips = CLIPS[part]
  config = cost.read(name)
  state, step = abstract.update(config)
  return lower(step, state, abstract.batch(config, clips), donate=0)


def compile_(lowered: Any, options: dict) -> tuple[Any, compiled.Module, list[compiled.Thunk]]:
  with tempfile.TemporaryDirectory() as folder:
    made = lowered.compile(compiler_options={**options, "xla_dump_to": folder})
    return made, compiled.Module(made.as_text()), compiled.read_thunks(Path(folder))


def sampling_facts(part: str, programme: Programme, show: bool = False) -> dict[str, float]:
  """What is measured of a sampling program. Args: show: prints what its loops launch."""
  made, module, thunks = compile_(programme.lowered, configure.GRAPH)
  trips, inside = module.trips(), [thunk for thunk in thunks if thunk.launches and thunk.loops()]
  loops = [thunk for thunk in thunks if thunk.kind == "kWhile"]
  facts = {
    "command_buffers": sum(thunk.kind == "kCommandBuffer" for thunk in thunks),
    "loops_outside": sum(not loop.captured() for loop in loops),
    "temp_bytes": made.memory_analysis().temp_size_in_bytes,
  }
  guessing = [loop for loop in loops if trips[loop.name] is None]
  if guessing:
    checks = [thunk for thunk in inside if set(guessing) & set(thunk.loops())]
    besides = [thunk for thunk in inside if thunk not in checks]
    facts["kernels_per_guess"] = len(checks)
    facts["kernels_per_block"] = compiled.launched(besides, trips) / compiled.runs(guessing[0], trips)
  else:
    facts[f"kernels_per_{programme.step}"] = compiled.launched(inside, trips) / programme.steps
  if programme.histories:
    written = [{compiled.plain_shape(shape) for shape in module.written(thunk.name)} for thunk in inside]
    facts["ring_copies"] = sum(bool(shapes & programme.histories) for shapes in written)
  if show:
    print("\n".join(listing(inside, module, programme)))
  return {f"{part}.{name}": value for name, value in facts.items()}


def listing(inside: list[compiled.Thunk], module: compiled.Module, programme: Programme) -> list[str]:
  """Everything that a program's loops launch, in order: how often a step, what it is, what it reads and writes."""
  trips, rows = module.trips(), []
  for thunk in inside:
    made = module.instructions[thunk.name]
    read = ", ".join(module.instructions[name].shape for name in made.operands)
    origin = made.op_name.rpartition("closed_call/")[2]
    often = compiled.runs(thunk, trips) / programme.steps
    rows.append(f"{often:9.4f} {thunk.kind} {thunk.name}: {made.shape} of {read}   # {origin}")
  often = Counter()
  for thunk in inside:
    often[re.sub(r"[._]\d+$", "", thunk.name)] += compiled.runs(thunk, trips) / programme.steps
  return rows + [f"{count:9.4f} {name}" for name, count in often.most_common()]


def training_facts(part: str, layouts: set[str]) -> dict[str, float]:
  """What is measured of an update; adds the layouts of its convolutions to `layouts`."""
  found = compiled.convolutions(compiled.Module(training(part).compile().as_text()))
  layouts.update(layout for convolution in found for layout in convolution.layouts)
  return {f"{part}.max_conv_window": max(size for convolution in found for size in convolution.window)}


def judge(facts: dict[str, float | str], gates: dict[str, tuple[str, float | str]]) -> list[str]:
  """What does not hold, a phrase each."""
  failed = []
  for key, (how, limit) in gates.items():
    value = facts.get(key)
    if value is None or (value > limit if how == "at most" else value != limit):
      failed.append(f"{key} is {'not measured' if value is None else value}, wanted {how} {limit}")
  return failed


def measure(only: list[str], dtype: jnp.dtype, show: bool) -> dict[str, float | str]:
  """All figures, or those of some parts."""
  together = configure.configure("gpu").places
  samplers = {
    "mar": lambda: mar_programme(dtype),
    "mar_together": lambda: sampling("mar", dtype, together),
    "mar_whole": lambda: sampling("mar", dtype, together, whole=True),
    "far": lambda: sampling("far", dtype),
  }
  parts = only or [*samplers, *CLIPS]
  if unknown := [part for part in parts if part not in (*samplers, *CLIPS)]:
    raise InputError(f"--only={unknown[0]} is no part; choose from {', '.join((*samplers, *CLIPS))}")
  facts, layouts = {}, set()
  for part in parts:
    start = time.monotonic()
    new = sampling_facts(part, samplers[part](), show) if part in samplers else training_facts(part, layouts)
    print(f"{part}, {time.monotonic() - start:.0f} s: {new}", flush=True)
    facts |= new
  return facts | ({"train.layouts": ", ".join(sorted(layouts))} if layouts else {})


def main(_: list[str]) -> int:
  if importlib.util.find_spec("jax_cuda13_plugin") is None:
    raise InputError("XLA's compiler for CUDA is not in this environment; `make gates` makes one that has it")
  jax.config.update("jax_enable_compilation_cache", False)  # what comes from a cache leaves no thunks to read
  options = flags.FLAGS
  facts = measure(options.only, jnp.dtype(options.dtype), options.show)
  if options.json:
    Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    Path(options.json).write_text(json.dumps(facts, indent=1) + "\n")
  gates = {key: gate for key, gate in GATES.items() if not options.only or key in facts}
  failed = judge(facts, gates)
  if failed:
    print(f"gates: {'; '.join(failed)}", file=sys.stderr)
  else:
    print(f"gates: {len(gates)} hold, {len(GATES) - len(gates)} not looked at")
  return int(bool(failed))


if __name__ == "__main__":
  flags.DEFINE_string("json", None, "File to write the figures to.")
  flags.DEFINE_list("only", [], "Parts to compile instead of all: mar, far, mar_train, critic, ...")
  flags.DEFINE_enum("dtype", "bfloat16", [*TYPES], "Of weights and histories in sampling.")
  flags.DEFINE_bool("show", False, "List what the loops of sampling launch.")
  cli.run(main)
