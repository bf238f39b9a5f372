"""Finds recordings: files, or a list of files and addresses, which are downloaded (appendix D.1)."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nwt_jax.errors import InputError
from nwt_jax.io import ffmpeg
from nwt_jax.io.box import Box
from nwt_jax.io.disk import check_space
from nwt_jax.names import plain, printable
from nwt_jax.prepare.acquire.listing import SUFFIXES, on_disk, videos

LISTS = {".txt", ".jsonl"}
DOWNLOADER = "pip install yt-dlp"
SECONDS = 3600  # limit for one download


@dataclass(frozen=True)
class Recording:
  """A recording, or a part of one, as the user names it.

  start, length: the part, in seconds; a length of None reaches to the end. episode, source, crop: empty where the user
  gives none (episodes.with_episodes fills in the first two). split_by_clip: whether the clips that are cut from it may
  go to different splits.
  """

  name: str
  where: str  # a path, or an address
  start: float = 0.0
  length: float | None = None
  episode: str = ""
  source: str = ""
  crop: str = ""
  split_by_clip: bool = False

  @property
  def remote(self) -> bool:
    return self.where.startswith(("http://", "https://"))


def find(
  pattern: str, root: str | os.PathLike | None = None, exclude: Sequence[Path] = (), log: Callable = lambda text: None
) -> list[Recording]:
  """Lists recordings.

  Args: pattern: a list (.txt or .jsonl, see read_list), a file, or what listing.videos takes: a folder or a glob. root:
    see read_list. exclude: folders to skip. log: receives a line about files that are left out.
  Returns: sorted by name; a file's name is its stem, or, where two stems are equal, its path without the suffix below
    the folder that all files share.
  Raises: InputError: nothing is found, or two files would have the same name.
  """
  if "\0" in str(pattern):
    raise InputError("--input holds a NUL character; give a path without it")
  given, left_out = on_disk(pattern), ""
  if given.suffix.lower() in LISTS and given.is_file():
    return read_list(given, root)
  if given.is_file():  # of any name; its content is examined later
    paths = [given]
  else:
    paths, left_out = videos(pattern, exclude)
  if not paths:
    rest = f" (left out: {left_out})" if left_out else ""
    hint = "give --input=FOLDER or a quoted glob such as 'videos/*.mp4'"
    raise InputError(f"no video file matches {str(pattern)[:200]!r}{rest}; {hint}")
  if left_out:
    log(f"left out of {pattern}: {left_out}")
  stems = [printable(path.stem) for path in paths]
  if len(set(stems)) < len(paths):
    top = os.path.commonpath([path.parent for path in paths])
    stems = [printable(path.relative_to(top).with_suffix("").as_posix()) for path in paths]
  names = {}
  for name, path in zip(stems, paths, strict=True):
    if other := names.get(name):
      alike = "in their ending" if other.stem == path.stem else "in how their letters are encoded"
      raise InputError(f"'{other}' and '{path}' differ {alike} alone; rename one, or name one kind in --input")
    names[name] = path
  return [Recording(name, os.path.abspath(path)) for name, path in sorted(names.items())]


def read_list(path: str | os.PathLike, root: str | os.PathLike | None = None) -> list[Recording]:
  """Reads a list of recordings.

  Args:
    path: .txt, one path or http(s) address a line, # for comments; or .jsonl, one object a line with `path` or `url`
      and, where wanted, `name`, `start` and `end` (seconds), `episode`, `source`, `crop`; objects with `kept` false and
      other keys are ignored, so that a data set's manifest.jsonl is a list, too.
    root: the folder that every path must lie in, links resolved; relative paths start there. None: the list's own.
  Raises: InputError: the line, and what is wrong with it.
  """
  path = Path(path)
  root = on_disk(root or path.parent).resolve()
  try:
    lines = path.read_text(encoding="utf-8-sig").split("\n")
  except UnicodeDecodeError as error:
    raise InputError(f"{path} is no text in UTF-8 ({error}); export it again") from error
  found, numbers = [], {}
  for number, line in enumerate(lines, 1):
    line = line.strip()
    if not line or (path.suffix.lower() == ".txt" and line.startswith("#")):
      continue
    try:
      recording = _read_line(line, path.suffix.lower() == ".jsonl", root)
      if recording is None:
        continue
    except (ValueError, KeyError, TypeError, InputError) as error:
      raise InputError(f"{path} line {number}: {error}") from None
    if recording.name in numbers:
      raise InputError(
        f"{path} line {number}: the name {recording.name!r} stands in line {numbers[recording.name]} already; "
        "rename one"
      )
    numbers[recording.name] = number
    found.append(recording)
  if not found:
    raise InputError(f"{path} lists no recordings; write a path or an address on each line")
  return found


def _read_line(line, is_json, root):
  if is_json:
    try:
      row = json.loads(line)
    except ValueError:
      raise ValueError(f"no JSON object: {line[:60]!r}") from None
    if not isinstance(row, dict) or not isinstance(row.get("url") or row.get("path"), str):
      raise ValueError(f"wanted an object with `path` or `url`, got {line[:60]!r}")
    if row.get("kept") is False:
      return None
  else:
    row = {"url" if "://" in line else "path": line}
  where = row.get("url") or row["path"]
  if any(ord(letter) < 32 for letter in where):
    raise ValueError(f"{where!r} holds a control character")
  remote = "://" in where
  if remote and not where.startswith(("http://", "https://")):
    raise ValueError(f"{where!r}: addresses start with http:// or https://")
  if not remote:
    file = on_disk(root / where).resolve()
    if not file.is_relative_to(root):
      raise ValueError(f"{where!r} lies outside of {root}; give the folder that holds all files as --root")
    name, where = file.relative_to(root).with_suffix("").as_posix(), str(file)
  else:
    name = f"{_address_stem(where)}-{hashlib.sha256(where.encode()).hexdigest()[:8]}"
  start, end = (_seconds(row, key) for key in ("start", "end"))
  if end is not None and end <= (start or 0.0):
    raise ValueError(f"ends at {end:g} s, before its start at {start or 0:g} s")
  name = row.get("name") or name
  usable = isinstance(name, str) and plain(name) == printable(name)
  if not usable or ".." in Path(name).parts or Path(name).is_absolute():
    raise ValueError(f"{name!r} cannot name a clip: no .., no leading /, letters in one line")
  name = plain(name)
  texts = [plain(str(row.get(key) or "")) for key in ("episode", "source", "crop")]
  if texts[-1]:
    Box.parse(texts[-1])
  return Recording(name, where, start or 0.0, None if end is None else end - (start or 0.0), *texts)  # ty: ignore[invalid-argument-type]


def _seconds(row, key):
  value = row.get(key)
  if value is None:
    return None
  if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e7:
    raise ValueError(f"{key} is {value!r}; wanted seconds, 0 or more")
  return float(value)


def _address_stem(address):
  last = address.split("?v=")[-1].rstrip("/").split("/")[-1]
  return "".join(letter for letter in last if letter.isalnum() or letter in "-_")[:40] or "video"


def acquire(
  recordings: Sequence[Recording], folder: str | os.PathLike, log: Callable = print, height: int | None = None
) -> tuple[dict[str, str], dict[str, str]]:
  """Makes every recording a file; yt-dlp downloads addresses, and files from an earlier call are reused.

  Args: recordings: see `find`. folder: receives downloads. log: receives progress lines. height: height of the pictures
    to download, pixels: the largest on offer up to it, else the smallest; None: the best.
  Returns: {name: path}, and {name: reason} for recordings that could not be downloaded; dead links are normal.
  Raises: InputError: there are addresses, but yt-dlp is not installed.
  Source: D.1."""
  remote = [recording for recording in recordings if recording.remote]
  if remote and importlib.util.find_spec("yt_dlp") is None:
    raise InputError(f"{len(remote)} recordings are addresses, which yt-dlp downloads; {DOWNLOADER}")
  paths, failed = {r.name: r.where for r in recordings if not r.remote}, {}
  folder = Path(folder)
  for number, recording in enumerate(remote, 1):
    target = folder / hashlib.sha256(recording.where.encode()).hexdigest()[:16]
    if not (done := _downloaded(target)):
      log(f"download {number} of {len(remote)}: {recording.where}")
      failure = _download(recording.where, target, height)
      done = _downloaded(target)
      if failure or not done:
        check_space(target.parent)  # before the address is blamed
        failed[recording.name] = f"{recording.where} could not be downloaded: {failure or 'no file came'}"
        continue
    paths[recording.name] = str(done)
  return paths, failed


def _downloaded(target):
  return next((path for path in sorted(target.glob("video.*")) if path.suffix in SUFFIXES), None)


def _download(address, target, height):
  """Returns why it failed, or nothing."""
  part = target.with_name(f"{target.name}.part")  # yt-dlp goes on in it after an interruption
  part.mkdir(parents=True, exist_ok=True)
  command = [sys.executable, "-m", "yt_dlp", "--ignore-config", "--no-playlist", "--no-progress", "--quiet"]
  command += ["--format-sort", f"res:{height}"] if height else []
  command += [
    "--ffmpeg-location",
    ffmpeg.executable(),
    "--merge-output-format",
    "mp4",
    "--output",
    "video.%(ext)s",
    "--",
    address,
  ]
  try:
    done = subprocess.run(
      command, cwd=part, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=SECONDS, check=False
    )
  except subprocess.TimeoutExpired:
    return f"not done after {SECONDS} s"
  if done.returncode:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"yt-dlp ended with {done.returncode}"
  os.rename(part, target)
  return ""
