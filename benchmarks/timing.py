"""Times of several ways to do one thing, taken in turns in one process: only their ratios mean something here."""

import datetime
import importlib.metadata
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from nwt_jax.errors import InputError


def once(run: Callable[[], Any], calls: int = 1) -> float:
  """Seconds a call, until its results are there."""
  start = time.perf_counter()
  for _ in range(calls):
    result = run()
  jax.block_until_ready(result)
  return (time.perf_counter() - start) / calls


def take_turns(ways: dict[str, Callable[[], Any]], seconds: float, least: int = 5, warm: int = 3) -> list[dict]:
  """Rounds in which every way has a turn, in an order that rotates.

  Args: ways: calls without arguments. seconds: of all rounds together, at least. least: rounds. warm: calls before.
  Returns: for each round, seconds a call of each way."""
  took = {name: [once(run) for _ in range(warm)][-1] for name, run in ways.items()}
  calls = {name: max(1, math.ceil(0.004 / t)) for name, t in took.items()}
  rounds, began, names = [], time.perf_counter(), list(ways)
  while len(rounds) < least or time.perf_counter() - began < seconds:
    shift = len(rounds) % len(names)
    rounds.append({name: once(ways[name], calls[name]) for name in names[shift:] + names[:shift]})
  return rounds


def spread(values: list[float]) -> dict:
  """Median and quartiles."""
  low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
  return {"median": middle, "low": low, "high": high, "rounds": len(values)}


def ratio(rounds: list[dict], other: str, ours: str) -> dict:
  """How many times as long the other way takes, round by round."""
  return spread([turn[other] / turn[ours] for turn in rounds])


def writable(name: str | None) -> Path | None:
  """The path of a JSON file to come, before anything is measured. Raises: InputError: it cannot be written."""
  if not name:
    return None
  try:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    with open(name, "a"):
      return Path(name)
  except OSError as error:
    raise InputError(f"--json={name} cannot be written: {error.strerror}") from None


def machine() -> dict:
  """What the figures were taken on."""
  packages = ("jax", "jaxlib", "flax")
  return {
    "device": jax.devices()[0].device_kind,
    "processor": platform.processor() or platform.machine(),
    "cores": len(os.sched_getaffinity(0)),
    "versions": {name: importlib.metadata.version(name) for name in packages},
    "date": datetime.date.today().isoformat(),
  }
