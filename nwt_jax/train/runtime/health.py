"""The health of a long run: where time and memory go, skipped updates, and when a run has diverged."""

import collections
import contextlib
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

GROWN_LOGS = 3  # so many logs in a row with a grown gradient stop a run
MEDIAN_LOGS = 20  # logs that a median needs


def skipped_updates(*optimisers: Any) -> dict[str, Array]:
  """Counts the updates that were not finite and were skipped: in a row up to now, and in all.

  With several optimisers, each count is the largest of theirs."""

  def worst(name):
    return [count for state in optimisers for _, count in optax.tree.get_all_with_path(state, name)]

  rows, totals = worst("notfinite_count"), worst("total_notfinite")
  if not rows:
    return {}
  return {"health/skipped_in_row": jnp.max(jnp.stack(rows)), "health/skipped": jnp.max(jnp.stack(totals))}


@jax.jit
def all_finite(state: Any) -> Array:
  """Returns whether every number of a state is finite."""
  floating = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
  return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in floating]))


class StepClock:
  """Measures where the time between two logs goes."""

  def __init__(self):
    self._spent: dict[str, float] = collections.defaultdict(int)
    self._start = time.monotonic()

  @contextlib.contextmanager
  def measure(self, name: str) -> Iterator[None]:
    """Adds the time that is spent inside the block to the total of `name`."""
    start = time.monotonic()
    yield
    self._spent[name] += time.monotonic() - start

  def read(self, steps: int) -> dict[str, float]:
    """Returns seconds per step since the last call, by name; time outside all blocks is "compute"."""
    now = time.monotonic()
    spent = {name: self._spent[name] for name in ("data", "save", "evaluate")}
    spent["compute"] = max(now - self._start - sum(spent.values()), 0.0)
    self._spent.clear()
    self._start = now
    return {f"time/{name}": seconds / max(steps, 1) for name, seconds in spent.items()}


def memory_usage() -> dict[str, float]:
  """Returns MiB in use by this process, and the peak of its first device, where the backend counts it."""
  found = {}
  with contextlib.suppress(OSError):
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    found["memory/host_mib"] = resident * os.sysconf("SC_PAGE_SIZE") / 2**20
  peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
  return found | ({} if peak is None else {"memory/device_peak_mib": peak / 2**20})


class DivergenceWatch:
  """Decides from logged metrics when a run has diverged."""

  def __init__(self, max_skipped: int, max_growth: float):
    self._max_skipped, self._max_growth = max_skipped, max_growth
    self._norms, self._grown = collections.defaultdict(lambda: collections.deque(maxlen=200)), collections.Counter()

  def check(self, flat: dict[str, float]) -> tuple[str | None, str | None]:
    """Returns the reason to stop, or None, and a warning, or None. Args: flat: the metrics of one log."""
    row = int(flat.get("health/skipped_in_row", 0))
    bad = [name for name, value in flat.items() if not np.isfinite(value)]
    if row >= self._max_skipped:
      return f"{row} updates in a row were not finite" + (f" (first of them {bad[0]})" if bad else ""), None
    if bad and not row:
      return f"{bad[0]} is not finite", None
    if row:
      return None, f"{row} updates in a row were not finite and changed nothing" + (f" ({bad[0]})" if bad else "")
    for name in (name for name in flat if name.startswith("grad_norm/")):
      norms = self._norms[name]
      usual = statistics.median(norms) if len(norms) >= MEDIAN_LOGS and self._max_growth else np.inf
      self._grown[name] = self._grown[name] + 1 if flat[name] > self._max_growth * usual > 0 else 0
      if self._grown[name] >= GROWN_LOGS:
        return f"{name} is {flat[name]:.3g}, its median was {usual:.3g}", None
      if not self._grown[name]:
        norms.append(flat[name])
    return None, None


def write_bundle(
  folder: Path, step: int, reason: str, batch: dict, state: Any, flat: dict, config: Any, last: int
) -> None:
  """Writes files that reproduce a divergence: report.json and, per process, batch-INDEX.npz with its rows of the batch.

  Args: step: number of the first update that was not finite, or at which the growth of a gradient was noticed. batch:
    that step's. last: step of the newest checkpoint, from which the same command reaches the divergence again.
  """
  folder.mkdir(parents=True, exist_ok=True)
  np.savez(folder / f"batch-{jax.process_index()}.npz", **{name: np.asarray(value) for name, value in batch.items()})  # ty: ignore[invalid-argument-type]
  if jax.process_index():
    return
  tops = jax.tree_util.tree_flatten_with_path(state, is_leaf=lambda x: isinstance(x, dict) and "params" not in x)[0]
  norms = {jax.tree_util.keystr(p, simple=True, separator="/"): float(optax.tree.norm(x)) for p, x in tops}
  report = {
    "reason": reason,
    "step": step,
    "seed": config.train.seed,
    "last_checkpoint": last,
    "again": f"in a copy of this workdir, the same command with --config.train.steps={step} "
    "--config.train.log_every=1 --config.train.max_skipped=1",
    "metrics": {name: value if np.isfinite(value) else str(value) for name, value in flat.items()},
    "parameter_norms": {name: value if np.isfinite(value) else str(value) for name, value in norms.items()},
    "versions": {"jax": jax.__version__, "optax": optax.__version__},
    "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
  }
  (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
