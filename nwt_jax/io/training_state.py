"""Training checkpoints: Orbax v1, asynchronous and atomic, the newest few kept."""

from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp


class Checkpoints:
  """The checkpoints of one workdir. Use as a context manager: leaving it waits for the save under way."""

  def __init__(self, directory: str | Path, keep: int):
    self._checkpointer = ocp.training.Checkpointer(
      Path(directory).absolute(), preservation_policy=ocp.training.preservation_policies.LatestN(keep)
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._checkpointer.close()

  @property
  def latest(self) -> int | None:
    """The newest committed step, or None."""
    return None if self._checkpointer.latest is None else self._checkpointer.latest.step

  def save(self, step: int, state: Any, wait: bool = False) -> None:
    """Starts saving `state`, a tree of arrays; a step that is already there is left as it is."""
    if self.latest == step:
      return
    self._checkpointer.save_checkpointables_async(step, {"state": state}, force=True)
    if wait:
      self._checkpointer.wait()

  def restore(self, state: Any) -> Any:
    """The newest state, laid out like `state` (shapes, dtypes, shardings)."""
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
    return self._checkpointer.load_checkpointables(self.latest, {"state": abstract})["state"]
