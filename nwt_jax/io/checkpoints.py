"""Training checkpoints: Orbax v1, asynchronous; the newest few kept; a file that changed since is never loaded.

Orbax loads a flipped byte of array data without a word. So each committed step gets the SHA-256 of its files, beside
the steps in DIGESTS, and what does not match is not restored. A step without digests was not finished.
"""

import contextlib
import errno
import json
import logging
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from nwt_jax.errors import CheckpointError, InputError
from nwt_jax.io.release import file_sha256

DIGESTS, SET_ASIDE = "digests", "set_aside"
FULL = "No space left on device"


class Checkpoints:
  """The checkpoints of one workdir. Use as a context manager: leaving it waits for the save under way.

  Attributes: latest: the newest step that is whole, or None.
  Raises: InputError: there are steps and all are damaged; nothing is changed then.
  """

  def __init__(self, directory: str | Path, keep: int):
    self._directory = Path(directory).absolute()
    self.latest = _agreed(lambda: _newest_whole(self._directory))
    self._saving: threading.Thread | None = None
    self._failure: Exception | None = None
    self._in_a_row = 0  # saves that failed
    self._keep = keep
    self._checkpointer = self._open(clean=True)

  def _open(self, clean: bool) -> ocp.training.Checkpointer:
    return ocp.training.Checkpointer(
      self._directory,
      # Orbax removes old steps before a new one has its digests
      preservation_policy=ocp.training.preservation_policies.LatestN(max(self._keep, 2)),
      cleanup_tmp_directories=clean,
    )

  def __enter__(self):
    return self

  def __exit__(self, kind, *_):
    try:
      self.finish()
      self._checkpointer.close()
    except Exception as error:  # noqa: BLE001 (the exception that is under way says more)
      if kind is None:
        raise
      logging.warning("%s", error)

  def save(self, step: int, state: Any) -> None:
    """Starts saving `state`, a tree of arrays; a step that is already there is left as it is.

    Raises: InputError: the disk was full at the save before. RuntimeError: it failed otherwise; the first in a row to
    do so is a warning where there is one process.
    """
    self.finish()
    if self.latest == step:
      return
    try:
      response = self._checkpointer.save_checkpointables_async(step, {"state": state}, force=True)
    except Exception as error:  # noqa: BLE001 (whatever it is, `finish` decides)
      self._fail(step, error)
      return self.finish()
    self._saving = threading.Thread(target=self._seal, args=(step, response))
    self._saving.start()

  def save_now(self, step: int, state: Any) -> None:
    """Saves and waits; where that fails it tries once more. Raises: see `save`."""
    while self.latest != step:
      self.save(step, state)
      self.finish()

  def finish(self) -> None:
    """Waits for the save under way. Raises: see `save`."""
    if self._saving is not None:
      self._saving.join()
      self._saving = None
    failure, self._failure = self._failure, None
    if failure is None:
      return
    if FULL in str(failure):
      raise failure
    if self._in_a_row > 1 or jax.process_count() > 1:
      raise RuntimeError(str(failure)) from failure  # no bad input: worth another try
    logging.warning("%s; trying again at the next save", failure)
    with contextlib.suppress(Exception):  # it raises what the failed save raised, now and at every later save
      self._checkpointer.close()
    self._checkpointer = self._open(clean=False)  # threads of the failed save may still be writing

  def _seal(self, step: int, response: Any) -> None:
    try:
      response.result()
      if jax.process_index() == 0:
        _write_digests(self._directory, step)
      self.latest, self._in_a_row = step, 0
    except Exception as error:  # noqa: BLE001 (of a thread; `finish` raises it)
      self._fail(step, error)

  def _fail(self, step: int, error: Exception) -> None:
    left = f"step {self.latest} is kept" if self.latest else "there is none before it"
    full = FULL in str(error) or getattr(error, "errno", None) == errno.ENOSPC
    reason = FULL if full else (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    hint = ": make room there, and give the same command again" if full else ""
    self._failure = CheckpointError(
      f"checkpoint {step} could not be written to {self._directory} ({reason}); {left}{hint}"
    )
    self._failure.__cause__ = error
    self._in_a_row += 1

  def restore(self, state: Any) -> Any:
    """The newest whole state, laid out like `state` (shapes, dtypes, shardings).

    Raises: InputError: the checkpoint has other arrays; names the first.
    """
    stored = self._checkpointer.checkpointables_metadata(self.latest).metadata["state"]
    _check_same_arrays(stored, state, f"checkpoint {self.latest} in {self._directory}")
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
    return self._checkpointer.load_checkpointables(self.latest, {"state": abstract})["state"]


def _steps(directory: Path) -> list[int]:
  return sorted((int(p.name) for p in directory.glob("*") if p.name.isdigit() and p.is_dir()), reverse=True)


def _digest_file(directory: Path, step: int) -> Path:
  return directory / DIGESTS / f"{step}.json"


def _files(folder: Path) -> list[str]:
  return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _write_digests(directory: Path, step: int) -> None:
  folder, path = directory / str(step), _digest_file(directory, step)
  path.parent.mkdir(exist_ok=True)
  partial = path.with_suffix(".partial")
  with open(partial, "w") as file:
    json.dump({name: file_sha256(folder / name) for name in _files(folder)}, file, indent=1)
    file.flush()
    os.fsync(file.fileno())
  os.replace(partial, path)
  for old in path.parent.glob("*.json"):
    if not (directory / old.stem).is_dir():
      old.unlink()


def damage(directory: Path, step: int) -> str | None:
  """Returns the fault of a step's files, or None. A step that was not finished has no digests: "unfinished"."""
  path = _digest_file(directory, step)
  if not path.is_file():
    return "unfinished"
  try:
    digests = json.loads(path.read_bytes())
    names = set(digests)
  except (ValueError, TypeError):
    return f"{path} cannot be read"
  folder = directory / str(step)
  for name in sorted(names | set(_files(folder))):
    if name not in names:
      return f"{name} was not there when it was saved"
    if not (folder / name).is_file():
      return f"{name} is missing"
    if file_sha256(folder / name) != digests[name]:
      return f"{name} has changed since it was saved"
  return None


def _newest_whole(directory: Path) -> int | None:
  """The newest step whose files are as they were saved. Newer ones are put aside, unfinished ones removed."""
  wrong: dict[int, str] = {}
  good = None
  for step in _steps(directory):
    found = damage(directory, step)
    if found is None:
      good = step
      break
    wrong[step] = found
  if good is None and any(found != "unfinished" for found in wrong.values()):
    listed = "; ".join(f"{step}: {found}" for step, found in wrong.items())
    raise CheckpointError(
      f"no checkpoint in {directory} is whole ({listed}); nothing was changed: bring a copy back, or use a new "
      "--workdir"
    )
  for step, found in wrong.items():
    if found == "unfinished" and good is not None:
      print(f"checkpoint {step} was not finished: removed", flush=True)
      shutil.rmtree(directory / str(step))
      continue
    aside = directory.parent / SET_ASIDE / str(step)
    logging.warning("checkpoint %d is not used (%s): moved to %s", step, found, aside)
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(exist_ok=True)
    shutil.move(directory / str(step), aside)
    _digest_file(directory, step).unlink(missing_ok=True)
  return good


def _agreed(find) -> int | None:
  """Returns process 0's result of `find` in every process, or raises its InputError there."""
  if jax.process_count() == 1:
    return find()
  found, error = -2, None
  if jax.process_index() == 0:
    try:
      step = find()
      found = -1 if step is None else step
    except InputError as raised:
      error = raised
  found = int(multihost_utils.broadcast_one_to_all(np.int32(found)))
  if found == -2:
    raise error or CheckpointError("process 0 could not use the checkpoints; its message says why")
  return None if found == -1 else found


def _check_same_arrays(stored: Any, wanted: Any, what: str) -> None:
  named = lambda tree: {
    jax.tree_util.keystr(path, simple=True, separator="/"): (tuple(x.shape), str(np.dtype(x.dtype)))
    for path, x in jax.tree_util.tree_leaves_with_path(tree)
  }
  have, want = named(stored), named(wanted)
  for name in sorted(have.keys() | want.keys()):
    if have.get(name) != want.get(name):
      sides = [f"{tree[name][0]} {tree[name][1]}" if name in tree else "nothing" for tree in (have, want)]
      raise CheckpointError(f"{what} does not fit this config: {name} is {sides[0]}, wanted {sides[1]}; use its config")
