"""The training loop that every stage shares: batches, steps, logs, pictures, checkpoints, resume."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nwt_jax.errors import InputError, Stopped
from nwt_jax.io.checkpoints import Checkpoints
from nwt_jax.io.release import load_release
from nwt_jax.train.preflight import values
from nwt_jax.train.runtime import cluster
from nwt_jax.train.runtime.accumulate import check_parts
from nwt_jax.train.runtime.health import Clock, Watch, finite, memory, write_bundle
from nwt_jax.train.runtime.logging import MetricsWriter, format_seconds
from nwt_jax.train.runtime.sharding import check_batch_size, gather, jit_step, make_mesh, place, to_devices
from nwt_jax.train.runtime.workdir import check, held, record


@dataclasses.dataclass(frozen=True)
class Stage:
  """What one stage brings to the loop."""

  state: Any  # has `shown()`: the part of it that is evaluated and released
  step: Callable  # (state, batch) -> (state, metrics)
  batches: Callable[[int], Iterator[dict]]  # first step -> this process's batches
  # What the state shows, WORKDIR/eval/STEP for pictures -> metrics; on one process, after the export to WORKDIR/export
  evaluate: Callable[[Any, Path], dict]
  export: Callable[[Any, Path], None]  # what the state shows, folder; on one process
  show: tuple[str, ...]  # metrics of the progress line
  warn: Callable[[dict], str | None]  # metrics -> a warning
  data: str  # fingerprint of the data set


def start_from(options: Any, family: str, params: dict) -> dict:
  """The released weights that `options.init` names instead of fresh ones; `params` themselves when it is empty.

  Args: options: a config's `train`. `fresh` names the modules, joined by commas, that start fresh all the same, as the
    embedding of other episodes must.
  Raises: InputError: elsewhere, an array of another shape, or one too many or too few; a module that is not there.
  """
  if not options.init:
    return params
  try:
    released = load_release(options.init, family)[0]["params"]
  except InputError as error:
    raise InputError(f"--config.train.init={options.init}: {error}; a run that goes on needs no such flag") from error
  fresh = [name for name in options.fresh.split(",") if name]
  for name in fresh:
    if name not in params["params"]:
      raise InputError(f"--config.train.fresh: no module {name!r}; choose from {', '.join(sorted(params['params']))}")
  merged = {**released, **{name: params["params"][name] for name in fresh}}
  wanted, got = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (params["params"], merged))
  for path in sorted(wanted.keys() | got.keys(), key=str):
    shapes = [tree[path].shape if path in tree else "nothing" for tree in (wanted, got)]
    if shapes[0] != shapes[1]:
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      raise InputError(
        f"--config.train.init={options.init}: {name} is {shapes[1]}, wanted {shapes[0]}; use its config, or let this "
        f"module start fresh with --config.train.fresh={name.split('/')[0]}"
      )
  return {"params": jax.tree.map(lambda new, old: jax.numpy.asarray(new, old.dtype), merged, params["params"])}


def train(make_stage: Callable[[], Stage], config: Any, workdir: Path) -> tuple[Any, dict[str, float]]:
  """Trains from the newest whole checkpoint in `workdir` (or from the start) to `config.train.steps`.

  Writes config.json, run.json, metrics.jsonl, tensorboard/, checkpoints/, eval/STEP/ (PNG, MP4) and export/ (the
  release); after a divergence, diverged/STEP/.
  Returns: the last state, and the metrics of the last evaluation (of process 0; elsewhere none).
  Raises: InputError: a config, data or folder that cannot be used, a divergence. Stopped: a signal, after saving.
  """
  values.check(config)
  mesh = make_mesh(config.train.fsdp)
  check_batch_size(config.data.batch_size, mesh)
  check_parts(config.train.accumulate, config.data.batch_size, mesh.size)
  with held(workdir):
    try:
      stage = make_stage()
      check(workdir, config, stage.data)
      # From here on the state is where the rule puts it, and nowhere else
      state, stage = place(stage.state, mesh), dataclasses.replace(stage, state=None)
      with Checkpoints(workdir / "checkpoints", config.train.keep) as checkpoints:
        return _train(stage, state, config, workdir, checkpoints, mesh)
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
      text = str(error) or "out of memory"
      if not any(words in text.lower() for words in ("resource_exhausted", "out of memory")):
        raise
      reason = text.splitlines()[0][-160:]
      raise InputError(
        f"out of memory ({reason}); lower --config.data.batch_size, raise --config.train.accumulate or "
        "--config.train.fsdp, or set --config.train.remat=True"
      ) from error


def _train(stage: Stage, state: Any, config: Any, workdir: Path, checkpoints: Checkpoints, mesh) -> tuple[Any, dict]:
  options, total, leader = config.train, config.train.steps, jax.process_index() == 0
  say = functools.partial(print, flush=True) if leader else lambda _: None
  step, first = jit_step(stage.step, mesh, state), checkpoints.latest or 0
  if first:
    state = checkpoints.restore(state)
    say(f"resuming {workdir} at step {first}")
  record(workdir, config, stage.data)
  numbers = sum(np.prod(x.shape) for x in jax.tree.leaves(state)) / 1e6
  say(f"training {config.family} to step {total} on {mesh.size} x {jax.devices()[0].device_kind}")
  say(f"state of {numbers:.3f} M numbers; compiling the first step ...")
  watch, clock, evaluation = Watch(options.max_skipped, options.max_growth), Clock(), {}

  def show(number: int, evaluating: bool) -> None:
    """Exports and evaluates, on the first process; a full disk costs pictures and export, not the run.

    Raises: InputError: at the end of training they are what it was for."""
    shown = gather(state.shown(), mesh)
    if not leader:
      return
    try:
      stage.export(shown, workdir / "export")
      if evaluating:
        evaluation.update(stage.evaluate(shown, workdir / "eval" / f"{number:07d}"))
        writer.write(number, {f"eval/{name}": value for name, value in evaluation.items()})
        say("evaluation  " + "  ".join(f"{k} {v:.4g}" for k, v in sorted(evaluation.items())))
    except (OSError, InputError) as error:
      text = f"step {number}: pictures or export could not be made ({error})"
      if number >= total:
        raise InputError(f"{text}; the state is saved: give the same command again") from error
      writer.warn(text)

  def diverged(number: int, reason: str, flat: dict) -> InputError:
    """Keeps what reproduces it. Returns: the error to raise."""
    checkpoints.finish()
    bad = number - max(int(flat.get("health/skipped_in_row", 1)), 1) + 1
    bundle = workdir / "diverged" / f"{bad:07d}"
    shown = gather(state.shown(), mesh)
    write_bundle(bundle, bad, reason, next(stage.batches(bad - 1)), shown, flat, config, checkpoints.latest or 0)
    return InputError(
      f"diverged at step {bad}: {reason}; {bundle} has its batch, and {workdir} keeps checkpoint "
      f"{checkpoints.latest or 0}: lower the rate or check the data"
    )

  with MetricsWriter(workdir, total, leader) as writer:
    started, warned, logged = time.monotonic(), False, first
    batches = stage.batches(first) if first < total else iter(())
    for number in range(first + 1, total + 1):
      with clock.on("data"):
        batch = to_devices(next(batches), mesh)
      state, metrics = step(state, batch)
      if number == first + 1:
        jax.block_until_ready(metrics)
        say(f"first step done after {format_seconds(time.monotonic() - started)}")
        writer.pace.begin(number)
      stopping = cluster.stopping(number) and number < total
      saving = number % options.save_every == 0 or number == total or stopping
      if number % options.log_every == 0 or saving:
        spent = clock.read(number - logged)
        flat = writer.write(number, jax.device_get(metrics) | spent | memory(), stage.show)
        logged = number
        reason, doubt = watch.judge(flat)
        if reason is None and saving and not finite(state):
          reason = "the state is not finite"
        if reason:
          raise diverged(number, reason, flat)
        text = doubt or stage.warn(flat)
        if text and not warned:
          writer.warn(f"step {number}: {text}")
        warned = bool(text)
      # In a row of updates that were left out the last checkpoint stays before it, to meet its batches again
      if saving and (stopping or number == total or not flat.get("health/skipped_in_row")):
        with clock.on("save"), writer.pace.pause("save", options.save_every):
          (checkpoints.save_now if stopping or number == total else checkpoints.save)(number, state)
      if stopping:
        raise Stopped(f"stopped by a signal at step {number}, which is saved; give the same command to go on")
      evaluating = number % options.eval_every == 0 or number == total
      if evaluating or saving:
        kind = ("evaluate", options.eval_every) if evaluating else ("export", options.save_every)
        with clock.on("evaluate"), writer.pace.pause(*kind):
          show(number, evaluating)
    if first >= total:
      say(f"{workdir} is at step {first} already; raise --config.train.steps to go on")
      show(first, not (workdir / "eval" / f"{first:07d}").is_dir())
  say(f"done: {workdir / 'export'} holds the model, {workdir / 'eval'} its pictures")
  return state, evaluation
