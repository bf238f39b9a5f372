"""Folders that a data set was made from, told as the way there: what was moved together is found again."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def told(path, folder) -> str:
  """How a data set in `folder` tells of another folder: by the way from its own, and not by where both are today."""
  return os.path.relpath(path, folder)


def find(way: str, folder, fits: Callable[[Path], bool]) -> Path | None:
  """Where a folder is now.

  Args: way: what the data set tells of it, as `told` or, in older ones, an absolute path; "" where it tells nothing.
    folder: the data set's own, today. fits: whether what is at a place is what was meant; called for some that are not.
  Returns: the first place that fits: at the end of the way, else below a folder above the data set; None: nowhere.
  """
  return next((place for place in _places(way, folder) if fits(place)), None)


def _places(way: str, folder) -> Iterator[Path]:
  if not way:
    return
  own = os.path.abspath(folder)
  yield Path(os.path.normpath(os.path.join(own, way)))
  yield Path(os.path.realpath(folder), way)  # of a link, where the data set itself is
  names = [name for name in Path(way).parts if name not in ("..", os.sep)]
  for above in Path(own).parents:
    yield from (above.joinpath(*names[first:]) for first in range(len(names)))
