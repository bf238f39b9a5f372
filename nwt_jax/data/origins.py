"""Stores the folders that a data set was made from as relative paths, so that they are found if all move together."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def relative(path: str | os.PathLike, folder: str | os.PathLike) -> str:
  """Returns the path by which a data set in `folder` stores another folder: relative to its own."""
  return os.path.relpath(path, folder)


def find(stored: str, folder: str | os.PathLike, fits: Callable[[Path], bool]) -> Path | None:
  """Finds the present path of a folder that a data set was made from.

  Args: stored: the path in the data set: from `relative` or, in older ones, an absolute path; "" if there is none.
    folder: the data set's present folder. fits: path -> whether it is the folder that was meant; called for candidates.
  Returns: the first path that fits: the stored one, else one below a parent folder of the data set; None if none fits.
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
