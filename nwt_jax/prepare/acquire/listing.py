"""Lists the video files of a folder or a glob: one rule for both.

A folder means the same as FOLDER/**/*. Hidden files and folders (a dot in front, __MACOSX) are left out unless the
pattern names them. Links to folders and files are followed; a file with several names is listed once, under its own
name rather than a link's. Suffixes match in either case, and accents in either Unicode form.
"""

import fnmatch
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from nwt_jax.names import plain

SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv"}
_HIDDEN = (".", "__MACOSX")  # beginnings of names that programs give: AppleDouble's, caches, thumbnails
_DEEP = "**"


def on_disk(path: str | os.PathLike) -> Path:
  """Returns the existing path that has this name in any Unicode form; the path itself where there is none."""
  path = Path(path)
  if os.path.lexists(path):
    return path
  found = Path(path.anchor)
  for part in path.parts[len(found.parts) :]:
    if not os.path.lexists(found / part):
      try:
        part = next(name for name in _names(found) if plain(name) == plain(part))
      except (StopIteration, OSError):
        return path
    found /= part
  return found


def videos(pattern: str, exclude: Sequence[os.PathLike] = ()) -> tuple[list[Path], str]:
  """Looks for video files.

  Args: pattern: a folder or a glob; ** stands for any number of folders, and brackets also match themselves. exclude:
    folders to skip.
  Returns: the paths in order, and a line about the files that were left out; "" if none were.
  """
  given = on_disk(pattern)
  parts = given.parts[1:] if given.anchor else given.parts
  parts = (*parts, _DEEP, "*") if given.is_dir() else (*parts, "*") if parts[-1:] == (_DEEP,) else parts
  walk = _Walk(exclude)
  walk.go(Path(given.anchor), parts)
  paths = sorted(min(names)[1] for names in walk.files.values())
  return paths, walk.left_out()


class _Walk:
  """A walk over folders that matches a pattern. files: real path -> [(whether links lead there, path)]."""

  def __init__(self, exclude):
    self._exclude = [os.path.realpath(folder) for folder in exclude]
    self._seen = set()
    self.files: dict[str, list[tuple[bool, Path]]] = {}
    self._left: dict[str, dict[Path, str]] = {}  # reason -> path -> its name in the line

  def go(self, start, parts):
    """Matches the parts of a pattern, from a folder on."""
    own, linked = [(start, tuple(parts), False)], []  # a real folder before any link to it: its files keep their names
    while own or linked:
      for step in self._step(*(own.pop(0) if own else linked.pop(0))):
        (linked if step[2] else own).append(step)

  def _step(self, folder, parts, by_link) -> Iterator[tuple[Path, tuple, bool]]:
    if not parts:
      return
    real = os.path.realpath(folder)
    if (real, len(parts)) in self._seen or any(Path(real).is_relative_to(other) for other in self._exclude):
      return  # each folder once, so that links in a ring come to an end
    self._seen.add((real, len(parts)))
    part, rest = parts[0], parts[1:]
    if part == _DEEP:
      yield folder, rest, by_link
    try:
      names = [part] if _is_literal(folder, part) else sorted(_names(folder))
    except OSError as error:
      self._leave("folders that cannot be read", folder, f"{folder}: {error.strerror}")
      return
    for name in names:
      if part != _DEEP and not _matches(name, part):
        continue
      path = folder / name
      hidden = name.startswith(_HIDDEN) and not part.startswith(_HIDDEN)
      link = by_link or path.is_symlink()
      if (part == _DEEP or rest) and os.path.isdir(path):
        if hidden:
          self._leave("hidden folders", path, name)
        else:
          yield path, parts if part == _DEEP else rest, link
      elif not rest and part != _DEEP and path.suffix.lower() in SUFFIXES:
        if os.path.isfile(path):
          self._leave("hidden files", path, name) if hidden else self._add(path, link)
        elif path.is_symlink() and not os.path.exists(path) and not hidden:
          self._leave("links that lead nowhere", path, name)

  def _add(self, path, link):
    names = self.files.setdefault(os.path.realpath(path), [])
    if (link, path) not in names:
      names.append((link, path))

  def _leave(self, kind, path, name):
    self._left.setdefault(kind, {})[path] = name

  def left_out(self) -> str:
    """A line about the files that were found but left out."""
    for (_, first), *others in map(sorted, self.files.values()):
      for _, other in others:
        self._leave("second names of files", other, f"{other} is {first}")
    words = ((kind, list(names.values())) for kind, names in self._left.items())
    return ", ".join(f"{kind}: {len(some)} ({some[0]!r}{', ...' if len(some) > 1 else ''})" for kind, some in words)


def _names(folder) -> list[str]:
  return os.listdir(folder if folder.parts else ".")


def _is_literal(folder, part):
  """Returns whether a part of a pattern is the name of an existing file or folder, not a wildcard."""
  return part != _DEEP and not set(part) & set("*?") and os.path.lexists(folder / part)


def _matches(name, part):
  name, part = plain(name), plain(part)
  if part == name:
    return True
  stem, ending = os.path.splitext(name)
  wanted, wanted_ending = os.path.splitext(part)
  name, part = stem + ending.lower(), wanted + wanted_ending.lower()
  return any(fnmatch.fnmatchcase(name, form) for form in (part, part.replace("[", "[[]")))
