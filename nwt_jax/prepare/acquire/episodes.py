"""Assigns recordings to episodes, and to the sources that stay together, by a table, a list, or a rule (D.10)."""

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from nwt_jax.errors import InputError
from nwt_jax.io import ffmpeg
from nwt_jax.names import MEAN, plain
from nwt_jax.prepare.acquire.listing import SUFFIXES
from nwt_jax.prepare.acquire.recordings import Recording

BY_RECORDING = "recordings"  # in place of a table of episodes: each recording is one
DEFAULT_EPISODE = "default"


def with_episodes(
  recordings: Sequence[Recording], episodes: str | os.PathLike | None = None, split_by_clip: bool = False
) -> list[Recording]:
  """Fills in episode and source of each recording.

  Args: episodes: a table, see read_episodes; BY_RECORDING; or None: the episode in a list, else DEFAULT_EPISODE.
    split_by_clip: whether, where each recording is an episode, its clips may go to different splits.
  Raises: InputError: see read_episodes; or a name cannot be an episode's.
  """
  by_recording = episodes == BY_RECORDING
  # PAPER: D.10 assigns each episode's clips to all splits; where a recording is an episode, it cannot stay together.
  recordings = [replace(r, split_by_clip=by_recording and not r.source and split_by_clip) for r in recordings]
  if episodes and not by_recording:
    table = read_episodes(episodes, [recording.name for recording in recordings])
    return [replace(r, episode=table[r.name][0], source=table[r.name][1]) for r in recordings]
  first = {}  # parts of one file are one source, named after the first of them
  for r in recordings:
    first.setdefault(r.where, r.name)
  default = lambda r: r.name if by_recording else DEFAULT_EPISODE
  found = [replace(r, episode=r.episode or default(r), source=r.source or f"clip {first[r.where]}") for r in recordings]
  for recording in found:
    if why := no_episode(recording.episode):
      raise InputError(f"{recording.name}: {why}; give an `episode` in a list, or a table with --episodes")
  return found


def read_episodes(path: str | os.PathLike, names: Iterable[str]) -> dict[str, tuple[str, str]]:
  """Looks up each clip's episode, and the recording it was cut from, in a table.

  Args: path: CSV with a header: `clip` (the clip's name or file name), `episode` (or `session`), optionally `source`;
    other columns are ignored. names: the clips.
  Returns: name -> (episode, source); without a `source`, each clip is its own recording.
  Raises: InputError: no such file, a column is missing, or a clip is not in the table.
  """
  path = ffmpeg.check_file(path, "CSV")
  try:
    with open(path, newline="", encoding="utf-8-sig") as file:
      reader = csv.DictReader(file)
      columns = reader.fieldnames or []
      rows = list(reader)
  except (UnicodeDecodeError, csv.Error) as error:
    raise InputError(f"{path} is not a CSV table in UTF-8 ({error}); export it again") from error
  column = next((name for name in ("episode", "session") if name in columns), None)
  if "clip" not in columns or column is None:
    raise InputError(f"{path} has the columns {', '.join(columns)}; wanted `clip` and `episode` (or `session`)")
  table = {}
  for number, row in enumerate(rows, 2):
    row = {name: plain(text).strip() for name, text in row.items() if isinstance(text, str)}
    key, episode = row.get("clip", ""), row.get(column, "")
    if not key or not episode:
      raise InputError(f"{path} line {number} lacks its clip or {column}; fill it in, or delete the line")
    if why := no_episode(episode):
      raise InputError(f"{path} line {number}: {why}; rename it")
    if Path(key).suffix.lower() in SUFFIXES:
      key = Path(key).with_suffix("").as_posix()
    if key in table and table[key] != row:
      raise InputError(f"{path} line {number} names the clip {key!r} a second time; keep one of the lines")
    table[key] = row
  names = list(names)
  if missing := [name for name in names if plain(name) not in table]:
    raise InputError(f"{len(missing)} of {len(names)} clips are not in {path}, {missing[0]!r} first; add them to it")
  found = ((name, table[plain(name)]) for name in names)
  return {name: (row[column], row.get("source") or f"clip {name}") for name, row in found}


def no_episode(name: str) -> str:
  """Returns the reason why a text cannot name an episode; "" if it can."""
  if name == MEAN or set(name) & set(",@"):
    return f"{name!r} cannot name an episode: `mean`, `,` and `@` mean other things"
  return ""
