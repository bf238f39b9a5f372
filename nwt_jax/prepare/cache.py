"""OUTPUT.work, the folder in which a preparation works: what a step made waits there for the next call."""

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
  """Makes and locks OUTPUT.work, where steps leave what they made: after an error all of it stays, else downloads.

  Raises: InputError: it cannot be made, or another program is at work there.
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
  """The folder beside a data set that its preparation works in."""
  return Path(f"{os.fspath(output).rstrip('/')}.work")


def clear(work: Path) -> None:
  """Removes what the steps left behind, but not downloads, nor what is not theirs."""
  for pattern in _OURS:
    for path in work.glob(pattern):
      shutil.rmtree(path) if path.is_dir() else path.unlink()


class ResultCache:
  """Results of jobs from this and earlier calls, one JSON line each, so that work that was cut off goes on."""

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
    """engine.map(function, jobs) without the jobs whose key is known.

    Args: step: called after each (`Progress.step`). keep: whether a result is kept for later calls.
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
  """Where the strip of pictures of a clip lies."""
  return work / PICTURES / f"{short_hash(name)}.jpg"


def file_stamp(path: str | os.PathLike) -> tuple[int, int]:
  """Size and time of change (ns) of a file; zeros where there is none."""
  try:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns
  except OSError:
    return 0, 0


def short_hash(*parts: Any) -> str:
  """24 hex digits that stand for all parts together."""
  return hashlib.sha256("\n".join(map(str, parts)).encode("utf-8", "surrogateescape")).hexdigest()[:24]
