"""The training loop that every stage shares: batches, steps, logs, pictures, checkpoints, resume."""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from nwt_jax.errors import InputError, Stopped
from nwt_jax.io.checkpoints import Checkpoints
from nwt_jax.train import stages
from nwt_jax.train.preflight import values
from nwt_jax.train.runtime import cluster
from nwt_jax.train.runtime.accumulate import check_parts
from nwt_jax.train.runtime.health import DivergenceWatch, StepClock, all_finite, memory_usage, write_bundle
from nwt_jax.train.runtime.logging import MetricsWriter, format_seconds
from nwt_jax.train.runtime.sharding import check_batch_size, gather, jit_step, make_mesh, shard_state, to_devices
from nwt_jax.train.runtime.workdir import check_run, lock_workdir, record_run
from nwt_jax.train.stages import Stage


def train(
  config: Any, workdir: Path, make_stage: Callable[[Any], Stage] = stages.make_stage
) -> tuple[Any, dict[str, float]]:
  """Trains from the newest whole checkpoint in `workdir` (or from the start) to `config.train.steps`.

  Args: workdir: folder of the run. make_stage: config -> the stage; by default the one that the config's family names.
  Writes config.json, run.json, metrics.jsonl, tensorboard/, checkpoints/, eval/STEP/ (PNG, MP4) and export/ (the
  release); after a divergence, diverged/STEP/.
  Returns: the last state, and the metrics of the last evaluation (of process 0; elsewhere none).
  Raises: InputError: a config, data or folder that cannot be used, a divergence. Stopped: a signal, after saving.
  """
  values.check(config)
  mesh = make_mesh(config.train.fsdp)
  check_batch_size(config.data.batch_size, mesh)
  check_parts(config.train.accumulate, config.data.batch_size, mesh.size)
  with lock_workdir(workdir):
    try:
      stage = make_stage(config)
      check_run(workdir, config, stage.fingerprint)
      # From here on the sharded state is the only copy
      state, stage = shard_state(stage.state, mesh), dataclasses.replace(stage, state=None)
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


def _train(
  stage: Stage, state: Any, config: Any, workdir: Path, checkpoints: Checkpoints, mesh: Mesh
) -> tuple[Any, dict[str, float]]:
  options, total, leader = config.train, config.train.steps, jax.process_index() == 0
  log = functools.partial(print, flush=True) if leader else lambda _: None
  update, first = jit_step(stage.step, mesh, state), checkpoints.latest or 0
  if first:
    state = checkpoints.restore(state)
    log(f"resuming {workdir} at step {first}")
  record_run(workdir, config, stage.fingerprint)
  millions = sum(np.prod(x.shape) for x in jax.tree.leaves(state)) / 1e6
  log(f"training {config.family} to step {total} on {mesh.size} x {jax.devices()[0].device_kind}")
  log(f"state of {millions:.3f} M numbers; compiling the first step ...")
  watch, clock, evaluation = DivergenceWatch(options.max_skipped, options.max_growth), StepClock(), {}

  def export_and_evaluate(step: int, evaluating: bool) -> None:
    """Exports and evaluates, on the first process. Where a disk is full the run goes on without export and pictures.

    Raises: InputError: the disk is full at the end of training, so that the run would end without a model."""
    released = gather(state.for_release(), mesh)
    if not leader:
      return
    try:
      stage.export(released, workdir / "export")
      if evaluating:
        evaluation.update(stage.evaluate(released, workdir / "eval" / f"{step:07d}"))
        writer.write(step, {f"eval/{name}": value for name, value in evaluation.items()})
        log("evaluation  " + "  ".join(f"{k} {v:.4g}" for k, v in sorted(evaluation.items())))
    except (OSError, InputError) as error:
      text = f"step {step}: pictures or export could not be made ({error})"
      if step >= total:
        raise InputError(f"{text}; the state is saved: give the same command again") from error
      writer.warn(text)

  def record_divergence(step: int, reason: str, flat: dict) -> InputError:
    """Writes a bundle that reproduces the divergence. Returns: the error to raise."""
    checkpoints.finish()
    bad = step - max(int(flat.get("health/skipped_in_row", 1)), 1) + 1
    bundle = workdir / "diverged" / f"{bad:07d}"
    released = gather(state.for_release(), mesh)
    write_bundle(bundle, bad, reason, next(stage.batches(bad - 1)), released, flat, config, checkpoints.latest or 0)
    return InputError(
      f"diverged at step {bad}: {reason}; {bundle} has its batch, and {workdir} keeps checkpoint "
      f"{checkpoints.latest or 0}: lower the rate or check the data"
    )

  with MetricsWriter(workdir, total, leader) as writer:
    started, warned, logged = time.monotonic(), False, first
    batches = stage.batches(first) if first < total else iter(())
    for step in range(first + 1, total + 1):
      with clock.measure("data"):
        batch = to_devices(next(batches), mesh)
      state, metrics = update(state, batch)
      if step == first + 1:
        jax.block_until_ready(metrics)
        log(f"first step done after {format_seconds(time.monotonic() - started)}")
        writer.pace.begin(step)
        writer.pace.expect("saving", options.save_every)
        writer.pace.expect("evaluating", options.eval_every)
      stop = cluster.should_stop(step) and step < total
      saving = step % options.save_every == 0 or step == total or stop
      if step % options.log_every == 0 or saving:
        spent = clock.read(step - logged)
        flat = writer.write(step, jax.device_get(metrics) | spent | memory_usage(), stage.progress)
        logged = step
        reason, warning = watch.check(flat)
        if reason is None and saving and not all_finite(state):
          reason = "the state is not finite"
        if reason:
          raise record_divergence(step, reason, flat)
        text = warning or stage.warning(flat)
        if text and not warned:
          writer.warn(f"step {step}: {text}")
        warned = bool(text)
      # While updates are skipped nothing is saved: the last checkpoint stays before them, and a new run repeats them
      if saving and (stop or step == total or not flat.get("health/skipped_in_row")):
        with clock.measure("save"), writer.pace.pause("saving", options.save_every):
          (checkpoints.save_now if stop or step == total else checkpoints.save)(step, state)
      if stop:
        raise Stopped(f"stopped by a signal at step {step}, which is saved; give the same command to go on")
      evaluating = step % options.eval_every == 0 or step == total
      if evaluating or saving:
        kind = ("evaluating", options.eval_every) if evaluating else ("exporting", options.save_every)
        with clock.measure("evaluate"), writer.pace.pause(*kind):
          export_and_evaluate(step, evaluating)
    if first >= total:
      log(f"{workdir} is at step {first} already; raise --config.train.steps to go on")
      export_and_evaluate(first, not (workdir / "eval" / f"{first:07d}").is_dir())
  log(f"done: {workdir / 'export'} holds the model, {workdir / 'eval'} its pictures")
  return state, evaluation
