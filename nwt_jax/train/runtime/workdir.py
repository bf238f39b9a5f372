"""A run's folder: one trainer at a time, of one model and one data set; what changes between runs is said."""

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
from nwt_jax.errors import InputError
from nwt_jax.io.lock import locked
from nwt_jax.io.place import check_folder

FIXED = ("family", "model", "critics", "objective.reconstruction")  # what a run cannot change on the way
SHOWN = 8  # changed fields that are named


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
  """Makes the folder and keeps other trainers out.

  Raises: InputError: it is a file, cannot be written, or another trainer is at work there.
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


def check(workdir: Path, config: Any, data: str) -> None:
  """Compares config and circumstances with those of the run that the folder holds.

  Args: data: fingerprint of the data set.
  Raises: InputError: its run has another model or other data.
  """
  now, here = json.loads(config.to_json_best_effort()), circumstances(data)
  before, then = (_read(workdir / name) for name in ("config.json", "run.json"))
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
      _say_changes(flat(before), flat(now), then, here)


def record(workdir: Path, config: Any, data: str) -> None:
  """Writes config and circumstances, once they are known to fit."""
  if jax.process_index() == 0:
    now = json.loads(config.to_json_best_effort())
    for name, content in (("config.json", now), ("run.json", circumstances(data))):
      partial = workdir / f"{name}.partial"
      partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
      os.replace(partial, workdir / name)


def circumstances(data: str) -> dict:
  """What a run depends on beside its config."""
  return {
    "data": data,
    "jax": jax.__version__,
    "nwt_jax": __version__,
    "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
  }


def _say_changes(before: dict, now: dict, then: dict, here: dict) -> None:
  changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
  for name in changed[:SHOWN]:
    print(f"config changed: {name} was {before.get(name)}, is {now.get(name)}", flush=True)
  if len(changed) > SHOWN:
    print(f"config changed: {len(changed) - SHOWN} more fields", flush=True)
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
  """A value by its dotted path; None where the config has none. Switches that are off do not count: a config of
  before there was such a switch has none."""
  for name in path.split("."):
    config = config.get(name) if isinstance(config, dict) else None
  return {k: v for k, v in config.items() if v is not False} if isinstance(config, dict) else config


def flat(config: dict, prefix: str = "") -> dict:
  """{"train.steps": 3, ...}"""
  found = {}
  for name, value in config.items():
    found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
  return found
