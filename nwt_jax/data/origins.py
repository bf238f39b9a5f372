"""Folders that a data set was made from, stored as relative paths: what was moved together is found again."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def relative(path: str | os.PathLike, folder: str | os.PathLike) -> str:
  """The path by which a data set in `folder` stores another folder: relative to its own, wherever both are today."""
  return os.path.relpath(path, folder)


def find(stored: str, folder: str | os.PathLike, fits: Callable[[Path], bool]) -> Path | None:
  """Where a folder is now.

  Args: stored: what the data set says of it: as `relative` or, in older ones, an absolute path; "": nothing.
    folder: the data set's own, today. fits: whether what is at a path is what was meant; called for some that are not.
  Returns: the first path that fits: the stored one, else one below a folder above the data set; None: nowhere.
  """
  return next((path for path in _candidates(stored, folder) if fits(path)), None)


def _candidates(stored: str, folder) -> Iterator[Path]:
  if not stored:
    return
  own = os.path.abspath(folder)
  yield Path(os.path.normpath(os.path.join(own, stored)))
  yield Path(os.path.realpath(folder), stored)  # of a link, where the data set itself is
  names = [name for name in Path(stored).parts if name not in ("..", os.sep)]
  for above in Path(own).parents:
    yield from (above.joinpath(*names[first:]) for first in range(len(names)))
