"""OUTPUT.work, the working folder of a preparation: it keeps the results of every step for the next call."""

import contextlib
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nwt_jax.io.lock import locked

DOWNLOADS, SEGMENTS, PICTURES, CACHE, LOCK = "downloads", "segments", "pictures", "examined.jsonl", "lock"
_OURS = (SEGMENTS, PICTURES, CACHE, "review.html", "manifest.jsonl", "building-*", "beam-*", "dead_letters.jsonl")


@contextlib.contextmanager
def workdir(output: str | os.PathLike) -> Iterator[Path]:
  """Makes and locks OUTPUT.work. After an error all of its contents stay, otherwise only the downloads.

  Raises: InputError: the folder cannot be made, or another program uses it.
  """
  work, output = work_of(output), Path(output)
  with locked(work / LOCK, f"another program is preparing {output}; wait for it, or give another --output"):
    for left in output.parent.glob(f".{glob.escape(output.name)}-building-*"):  # by a call that was killed
      shutil.rmtree(left, ignore_errors=True)
    try:
      yield work
    finally:
      (work / LOCK).unlink(missing_ok=True)
      for folder, _, _ in os.walk(work, topdown=False):
        if not os.listdir(folder):
          os.rmdir(folder)


def work_of(output: str | os.PathLike) -> Path:
  """Returns the working folder of a data set's preparation, which lies beside the data set."""
  return Path(f"{os.fspath(output).rstrip('/')}.work")


def clear(work: Path) -> None:
  """Removes the results of the steps, but neither downloads nor files that the steps did not make."""
  for pattern in _OURS:
    for path in work.glob(pattern):
      shutil.rmtree(path) if path.is_dir() else path.unlink()


class ResultCache:
  """Stores the results of jobs, one JSON line each, so that a later call goes on where this one was interrupted."""

  def __init__(self, path: str | os.PathLike):
    self.path, self.known = Path(path), {}
    for line in self.path.read_text().splitlines() if self.path.exists() else ():
      try:
        key, value = json.loads(line)
        self.known[key] = value
      except ValueError:
        pass  # the last line of a process that was killed
    self.path.parent.mkdir(parents=True, exist_ok=True)

  def map(
    self, engine: Any, function: Callable, jobs: Sequence, keys: Sequence[str], step: Callable, keep: Callable = bool
  ) -> list:
    """Does engine.map(function, jobs), but takes the results of jobs whose key is known from the store.

    Args: keys: a text for each job, equal only for jobs with the same result. step: called after each job
      (`Progress.step`). keep: result -> whether it is stored for later calls.
    Returns: the results in the order of the jobs.
    """
    missing = [(job, key) for job, key in zip(jobs, keys, strict=True) if key not in self.known]
    step(len(jobs) - len(missing), known=True)
    # A line of its own first: the last one may be torn.
    with open(self.path, "a") as file:
      file.write("\n")
      for (_, key), value in zip(missing, engine.map(function, [job for job, _ in missing]), strict=True):
        self.known[key] = value
        if keep(value):
          file.write(json.dumps([key, value]) + "\n")
          file.flush()
        step()
    return [self.known[key] for key in keys]


def picture_of(work: Path, name: str) -> Path:
  """Returns the path of a clip's strip of pictures."""
  return work / PICTURES / f"{short_hash(name)}.jpg"


def file_stamp(path: str | os.PathLike) -> tuple[int, int]:
  """Returns size and time of change (ns) of a file; zeros where there is no file."""
  try:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns
  except OSError:
    return 0, 0


def short_hash(*parts: Any) -> str:
  """Returns 24 hex digits of a hash over all parts together."""
  return hashlib.sha256("\n".join(map(str, parts)).encode("utf-8", "surrogateescape")).hexdigest()[:24]
