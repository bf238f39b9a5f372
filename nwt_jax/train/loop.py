"""The training loop that every stage shares: batches, steps, logs, pictures, checkpoints, resume."""

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nwt_jax.errors import InputError
from nwt_jax.io.checkpoint import load_release
from nwt_jax.io.training_state import Checkpoints
from nwt_jax.train.metrics import MetricsWriter, format_seconds
from nwt_jax.train.sharding import check_batch_size, jit_step, make_mesh, replicated, to_devices


@dataclasses.dataclass(frozen=True)
class Stage:
  """What one stage brings to the loop."""

  state: Any
  step: Callable  # (state, batch) -> (state, metrics)
  batches: Callable[[int], Iterator[dict]]  # first step -> this process's batches
  evaluate: Callable[[Any, Path], dict]  # state, folder for pictures -> metrics
  export: Callable[[Any, Path], None]  # state, folder
  show: tuple[str, ...]  # metrics of the progress line
  warn: Callable[[dict], str | None]  # metrics -> a warning


def start_from(options: Any, family: str, params: dict) -> dict:
  """The released weights that `options.init` names instead of fresh ones; `params` themselves when it is empty.

  Args: options: a config's `train`. `fresh` names the modules, joined by commas, that start fresh all the same, as the
    embedding of other episodes must.
  Raises: InputError: elsewhere, an array of another shape, or one too many or too few; a module that is not there.
  """
  if not options.init:
    return params
  released = load_release(options.init, family)[0]["params"]
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


def check_workdir(workdir: Path, config: Any) -> None:
  """Records the config; refuses a workdir that holds a run of another model.

  Raises: InputError: the workdir is a file, or its run has another family or model.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(f"--workdir={workdir} cannot be made ({error.strerror}); give a folder") from error
  path, now = workdir / "config.json", json.loads(config.to_json_best_effort())
  if path.exists():
    before = json.loads(path.read_text())
    for name in ("family", "model", "critics", "objective.reconstruction"):
      if _field(before, name) != _field(now, name):
        raise InputError(f"{workdir} holds a run with another `{name}`; use a new --workdir, or the config in {path}")
  if jax.process_index() == 0:
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    os.replace(partial, path)


def _field(config: dict, path: str) -> Any:
  """A value by its dotted path; None where the config has none."""
  for name in path.split("."):
    config = config.get(name) if isinstance(config, dict) else None
  return config


def check_rhythm(config: Any) -> None:
  """Raises: InputError: a number of steps, clips or frames that is not positive."""
  for group, names in (
    ("train", ("steps", "log_every", "eval_every", "save_every", "keep")),
    ("eval", ("clips", "frames", "pictures")),
  ):
    for name in names:
      if config[group].get(name, 1) < 1:
        raise InputError(f"--config.{group}.{name} is {config[group][name]}, wanted 1 or more")


def train(make_stage: Callable[[], Stage], config: Any, workdir: Path) -> tuple[Any, dict[str, float]]:
  """Trains from the newest checkpoint in `workdir` (or from the start) to `config.train.steps`.

  Writes config.json, metrics.jsonl, tensorboard/, checkpoints/, eval/STEP/ (PNG, MP4) and export/ (the release).
  Returns: the last state, and the metrics of the last evaluation.
  """
  check_rhythm(config)
  mesh = make_mesh()
  check_batch_size(config.data.batch_size, mesh)
  stage = make_stage()
  check_workdir(workdir, config)
  state = jax.device_put(stage.state, replicated(mesh))
  parameters = sum(np.prod(x.shape) for x in jax.tree.leaves(state)) / 1e6
  step = jit_step(stage.step, mesh)
  total = config.train.steps
  with Checkpoints(workdir / "checkpoints", config.train.keep) as checkpoints:
    first = checkpoints.latest or 0
    if first:
      try:
        state = checkpoints.restore(state)
      except (ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(
          f"checkpoint {first} in {workdir} does not fit this config ({reason}); use its config"
        ) from error
      print(f"resuming {workdir} at step {first}", flush=True)
    print(f"training {config.family} to step {total} on {mesh.size} x {jax.devices()[0].device_kind}", flush=True)
    print(f"state of {parameters:.3f} M numbers; the first step compiles and takes longer", flush=True)
    with MetricsWriter(workdir, total, first, jax.process_index() == 0) as writer:
      started, evaluation, warned = time.monotonic(), {}, False
      batches = stage.batches(first) if first < total else iter(())
      for number in range(first + 1, total + 1):
        state, metrics = step(state, to_devices(next(batches), mesh))
        if number == first + 1:
          jax.block_until_ready(metrics)
          print(f"first step done after {format_seconds(time.monotonic() - started)}", flush=True)
        saving = number % config.train.save_every == 0 or number == total
        if number % config.train.log_every == 0 or saving:
          flat = writer.write(number, jax.device_get(metrics), stage.show)
          text = stage.warn(flat)
          if text and not warned:
            writer.warn(f"step {number}: {text}")
          warned = bool(text)
          _check_finite(flat, number, workdir)
        if number % config.train.eval_every == 0 or number == total:
          evaluation = stage.evaluate(state, workdir / "eval" / f"{number:07d}")
          writer.write(number, {f"eval/{name}": value for name, value in evaluation.items()})
          print("evaluation  " + "  ".join(f"{k} {v:.4g}" for k, v in sorted(evaluation.items())), flush=True)
        if saving:
          checkpoints.save(number, state)
          stage.export(state, workdir / "export")
    if first >= total:
      print(f"{workdir} is at step {first} already; raise --config.train.steps to go on", flush=True)
      stage.export(state, workdir / "export")
  print(f"done: {workdir / 'export'} holds the model, {workdir / 'eval'} its pictures", flush=True)
  return state, evaluation


def _check_finite(flat: dict[str, float], step: int, workdir: Path) -> None:
  bad = [name for name, value in flat.items() if not np.isfinite(value)]
  if bad:
    raise InputError(
      f"{bad[0]} is not finite at step {step}; {workdir} keeps the last checkpoint: lower the rate or check the data"
    )
