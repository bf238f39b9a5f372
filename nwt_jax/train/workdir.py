"""A run's folder: one trainer at a time, of one model and one data set; what changes between runs is said."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from nwt_jax import __version__
from nwt_jax.errors import InputError
from nwt_jax.io.lock import locked

FIXED = ("family", "model", "critics", "objective.reconstruction")  # what a run cannot change on the way
SHOWN = 8  # changed fields that are named


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
  """Makes the folder and keeps other trainers out.

  Raises: InputError: it is a file, cannot be written, or another trainer is at work there.
  """
  if workdir.exists() and not workdir.is_dir():
    raise InputError(f"--workdir={workdir} is a file; give a folder")
  if jax.process_index():
    yield
    return
  with locked(workdir / "lock", f"another program is training in {workdir}; wait for it, or use another --workdir"):
    yield


def check(workdir: Path, config: Any, data: str) -> None:
  """Records config and circumstances; compares them with those of the run that the folder holds.

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
    _say_changes(_flat(before), _flat(now), then, here)
  if jax.process_index() == 0:
    for name, content in (("config.json", now), ("run.json", here)):
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
  """A value by its dotted path; None where the config has none."""
  for name in path.split("."):
    config = config.get(name) if isinstance(config, dict) else None
  return config


def _flat(config: dict, prefix: str = "") -> dict:
  """{"train.steps": 3, ...}"""
  flat = {}
  for name, value in config.items():
    flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
  return flat
