"""A run's folder: one trainer at a time, one model and one data set; other changes between runs are reported."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from nwt_jax import __version__
from nwt_jax.aliases import rename_fields
from nwt_jax.errors import InputError
from nwt_jax.io.disk import check_folder
from nwt_jax.io.lock import locked

FIXED = ("family", "model", "critics", "objective.reconstruction")  # what a run cannot change on the way
MOST_CHANGES = 8  # changed fields that are named


@contextlib.contextmanager
def lock_workdir(workdir: Path) -> Iterator[None]:
  """Makes the folder and keeps other trainers out.

  Raises: InputError: `workdir` is a file, cannot be written, or is in use by another trainer.
  """
  check_folder(workdir, "workdir")
  busy, refused = f"another program is training in {workdir}; wait for it, or use another --workdir", None
  with contextlib.ExitStack() as stack:
    if jax.process_index() == 0:
      try:
        stack.enter_context(locked(workdir / "lock", busy))
      except InputError as error:
        refused = error
    if jax.process_count() > 1 and multihost_utils.broadcast_one_to_all(np.int32(refused is not None)):
      raise refused or InputError(f"process 0 could not use {workdir}; its message says why")
    if refused:
      raise refused
    yield


def check_run(workdir: Path, config: Any, data: str) -> None:
  """Compares config and circumstances with those of the run in the folder, and reports other changes.

  Args: data: fingerprint of the data set.
  Raises: InputError: the run in the folder has another model or other data.
  """
  now, here = json.loads(config.to_json_best_effort()), circumstances(data)
  before, then = rename_fields(_read(workdir / "config.json")), _read(workdir / "run.json")
  if before:
    for name in FIXED:
      if _field(before, name) != _field(now, name):
        raise InputError(f"{workdir} holds a run with another `{name}`; use a new --workdir, or its config.json")
    if then and then["data"] != data:
      raise InputError(
        f"{workdir} holds a run on other data (fingerprint {then['data'][:12]}, now {data[:12]}); use a new --workdir, "
        "or its data set"
      )
    if jax.process_index() == 0:
      _report_changes(flatten(before), flatten(now), then, here)


def record_run(workdir: Path, config: Any, data: str) -> None:
  """Writes config and circumstances to the folder; to be called after `check_run`. Args: data: see there."""
  if jax.process_index() == 0:
    now = json.loads(config.to_json_best_effort())
    for name, content in (("config.json", now), ("run.json", circumstances(data))):
      partial = workdir / f"{name}.partial"
      partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
      os.replace(partial, workdir / name)


def circumstances(data: str) -> dict:
  """Returns the facts, beside its config, that a run depends on. Args: data: fingerprint of the data set."""
  return {
    "data": data,
    "jax": jax.__version__,
    "nwt_jax": __version__,
    "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
  }


def _report_changes(before: dict, now: dict, then: dict, here: dict) -> None:
  changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
  for name in changed[:MOST_CHANGES]:
    print(f"config changed: {name} was {before.get(name)}, is {now.get(name)}", flush=True)
  if len(changed) > MOST_CHANGES:
    print(f"config changed: {len(changed) - MOST_CHANGES} more fields", flush=True)
  for name in ("jax", "devices"):
    if then and then.get(name) != here[name]:
      logging.warning(
        "%s was %s, is %s: training goes on, but not bit for bit as it would have", name, then.get(name), here[name]
      )


def _read(path: Path) -> dict:
  try:
    return json.loads(path.read_text())
  except FileNotFoundError:
    return {}
  except (OSError, ValueError) as error:
    raise InputError(f"{path} cannot be read ({error}); remove it to write it anew") from error


def _field(config: dict, path: str) -> Any:
  """Returns a value by its dotted path, or None where the config has none. Switches that are off are left out of a
  group: a config that is older than a switch does not have it."""
  found: Any = config
  for name in path.split("."):
    found = found.get(name) if isinstance(found, dict) else None
  return {k: v for k, v in found.items() if v is not False} if isinstance(found, dict) else found


def flatten(config: dict, prefix: str = "") -> dict:
  """Returns nested fields by their dotted paths: {"train.steps": 3, ...}."""
  found = {}
  for name, value in config.items():
    found |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
  return found
