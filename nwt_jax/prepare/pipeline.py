"""Recordings become examined clips (appendix D.1 to D.5), and what was decided about them is written down."""

import base64
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from nwt_jax.errors import InputError, MachineError
from nwt_jax.io.progress import Progress
from nwt_jax.prepare.acquire import recordings, segments
from nwt_jax.prepare.cache import CACHE, DOWNLOADS, PICTURES, SEGMENTS, Kept, picture_of, short, stamp
from nwt_jax.prepare.examine import duplicates, offsets, people
from nwt_jax.prepare.examine.clip import Look, examine
from nwt_jax.prepare.review import manifest, pages
from nwt_jax.prepare.write import records, splits

BY_RECORDING = "recordings"  # in place of a table of episodes: each recording is one
INNER = ("shown", "strip", "heads", "shape")  # of a row: what was seen, from which decisions follow; not written down


@dataclass(frozen=True)
class Wanted:
  """Which recordings, and how they are cut; the program's flags of the same names tell more (pattern is --input).

  exclude: folders that are never looked into. height: of the pictures to download, pixels; None: the best.
  """

  pattern: str
  root: str | os.PathLike | None = None
  episodes: str | os.PathLike | None = None
  split_seconds: float = 0.0
  exclude: Sequence[Path] = ()
  deal: str = ""
  height: int | None = None


@dataclass(frozen=True)
class Piece:
  """A clip on its way: a file, or a part of one, and where it comes from.

  listed: the name of what the user gave. source: clips of one stay in one split. recording: sound and picture of its
  clips share one offset. origin: path or address. begins: place in the recording, seconds. segment: whether the file
  was cut from it.
  """

  clip: records.FileClip
  listed: str
  episode: str
  source: str
  recording: str
  origin: str
  begins: float
  segment: bool


def listed(wanted: Wanted, say: Callable = lambda text: None) -> tuple[list[recordings.Recording], list[splits.Entry]]:
  """The recordings, and episode and source of each. Raises: InputError: none, or what cannot be prepared."""
  found = recordings.find(wanted.pattern, wanted.root, wanted.exclude, say)
  if wanted.split_seconds and (parts := [r.name for r in found if r.start or r.length is not None]):
    raise InputError(f"{parts[0]} is a part of its file already; leave --split_seconds and --preset out")
  return found, _episodes(wanted, found)


def request(wanted: Wanted, found: Sequence[recordings.Recording], entries: Sequence[splits.Entry]) -> list:
  """What the recordings are, for telling whether a data set was made from the same ones."""
  stamps = [[r.name, r.start, r.length, *((r.where,) if r.remote else stamp(r.where))] for r in found]
  return [wanted.split_seconds, stamps, [[e.name, e.episode, e.source] for e in entries]]


def gather(
  wanted: Wanted,
  found: Sequence[recordings.Recording],
  entries: Sequence[splits.Entry],
  work: Path,
  workers: int,
  say: Callable,
  stop_after: str = "",
) -> tuple[list[Piece], list[dict]]:
  """Steps 1 and 2: the pieces of all recordings, and manifest rows of the recordings that gave none."""
  entries = {entry.name: entry for entry in entries}
  paths, failed = recordings.acquire(found, work / DOWNLOADS, say, wanted.height)
  lost = [_lost(r, entries[r.name], failed[r.name]) for r in found if r.name in failed]
  for row in lost:
    say(f"left out: {row['reason']}")
  if stop_after == "acquire":
    say(f"{len(paths)} of {len(found)} recordings are here")
    return [], lost

  def cut(recording):
    path, entry = paths[recording.name], entries[recording.name]
    # PAPER: D.10 deals each episode's clips to all splits; where a recording is an episode, it cannot stay together.
    alone = wanted.episodes == BY_RECORDING and not recording.source and wanted.deal != splits.BLOCKS

    def make(begins, name, *part):
      source = f"clip {name}" if alone else entry.source
      clip = records.FileClip(name, *part)
      came = (entry.episode, source, entry.source, recording.where)
      return Piece(clip, recording.name, *came, begins, wanted.split_seconds > 0)

    if not wanted.split_seconds:
      return [make(recording.start, recording.name, path, recording.start, recording.length, recording.crop)]
    folder = work / SEGMENTS / short(recording.name, path, *stamp(path), wanted.split_seconds)
    parts = segments.split(path, folder, wanted.split_seconds)
    return [make(part.start, f"{recording.name}_{n:05d}", str(part.path)) for n, part in enumerate(parts)]

  def attempt(recording):
    try:
      return cut(recording), []
    except InputError as error:
      return [], [_lost(recording, entries[recording.name], str(error))]
    except OSError as error:
      raise MachineError(f"{error.filename or work}: {error.strerror}; make room there, then try again") from error

  pieces = []
  with ThreadPoolExecutor(workers) as pool:  # threads: ffmpeg does the work
    for some, none in pool.map(attempt, [r for r in found if r.name in paths]):
      pieces += some
      lost += none
      for row in none:
        say(f"left out: {row['reason']}")
  return pieces, lost


def _episodes(wanted, found):
  names = [recording.name for recording in found]
  if wanted.episodes and wanted.episodes != BY_RECORDING:
    return records.read_episodes(wanted.episodes, names)
  default = lambda r: r.name if wanted.episodes == BY_RECORDING else records.DEFAULT_EPISODE
  first = {}  # parts of one file are one source, named after the first of them
  for r in found:
    first.setdefault(r.where, r.name)
  entries = [splits.Entry(r.name, r.episode or default(r), r.source or f"clip {first[r.where]}") for r in found]
  for entry in entries:
    if why := splits.no_episode(entry.episode):
      raise InputError(f"{entry.name}: {why}; give an `episode` in a list, or a table with --episodes")
  return entries


def _lost(recording, entry, reason):
  row = {"name": recording.name, "path": recording.where, "source": entry.source, "episode": entry.episode}
  return row | {
    "fault": "unreadable",
    "reason": reason,
    "flags": [],
    "start": recording.start,
    "length": recording.length,
  }


def look_at(pieces: Sequence[Piece], look: Look, work: Path, engine, say: Callable) -> list[dict]:
  """Step 5 (and the trim of 4): examines every piece. Returns: manifest rows; pictures lie in `work`."""
  if not pieces:
    return []
  kept, bar = Kept(work / CACHE), Progress("examine", len(pieces))
  looks = [replace(look, piece=p.segment) for p in pieces]
  jobs = [
    (p.clip.path, look, p.clip.start, p.clip.length, str(picture_of(work, p.clip.name)))
    for p, look in zip(pieces, looks, strict=True)
  ]
  keys = [short("examine", str(job), *stamp(job[0])) for job in jobs]
  (work / PICTURES).mkdir(parents=True, exist_ok=True)
  # What is at fault is looked at again: it may have been the machine's.
  found = kept.map(engine, _examine, jobs, keys, bar.step, lambda row: not row["fault"])
  bar.close()
  rows = []
  for piece, result in zip(pieces, found, strict=True):
    row = {"name": piece.clip.name, "path": piece.origin, "source": piece.source, "recording": piece.recording}
    row |= {"episode": piece.episode, **result}
    if piece.clip.path != piece.origin:  # a segment, or a download
      row["reason"] = row["reason"].replace(piece.clip.path, f"{piece.origin} from {piece.begins:.2f} s")
    rows.append(row)
    if row["fault"]:
      say(f"left out: {row['reason']}")
  return rows


def _examine(job):
  *what, target = job
  row = examine(*what)
  if picture := row.pop("picture"):
    part = f"{target}.{os.getpid()}"
    Path(part).write_bytes(picture)
    os.replace(part, target)
  return row


def join_duplicates(rows: Sequence[dict]) -> None:
  """The same recording under two names: flags all but the longest, and gives all of them one source (step 10).

  Changes `rows`, which lose their `print`.
  """
  prints = {row["name"]: np.frombuffer(base64.b64decode(row.pop("print", "")), np.uint32) for row in rows}
  groups = duplicates.same_recordings({row["name"]: prints[row["name"]] for row in rows if not row["fault"]})
  same = defaultdict(list)
  for row in rows:
    if digest := row.get("facts", {}).get("sha256"):
      same[digest, row["start"], row["length"]].append(row["name"])
  sources_of_one = DisjointSet(row["source"] for row in rows)
  by_name, flagged = {row["name"]: row for row in rows}, set()
  for names in [*groups, *(names for names in same.values() if len(names) > 1)]:
    flagged |= set(sorted(names, key=lambda name: (-(by_name[name]["length"] or 0.0), name))[1:])
    for name in names:
      sources_of_one.merge(by_name[names[0]]["source"], by_name[name]["source"])
  for row in rows:
    row["source"] = min(sources_of_one.subset(row["source"]))
    if row["name"] in flagged and not row["fault"]:
      row["flags"] = [*row["flags"], "duplicate"]


@dataclass(frozen=True)
class Told:
  """What is said of all clips together. syncs: see offsets.listen. groups: see people.group; faces: the same of clips.
  notes: lines to print."""

  syncs: Mapping[str, str]
  groups: Mapping[str, str]
  faces: Mapping[str, str]
  notes: Sequence[str]


def compare(rows: Sequence[dict], pieces: Sequence[Piece], faces: bool, shown: Path, work: Path, engine) -> Told:
  """What takes many clips together: offsets of the sound, people. Changes `rows`: `sync`, flags.

  Args: faces: whether they were looked for. shown: the folder that people.csv will lie in.
  """
  if not faces:
    return Told({}, {}, {}, [])
  syncs, line = offsets.listen(rows, {piece.clip.name: piece.clip for piece in pieces}, work, engine)
  groups = people.group(rows, {piece.clip.name: piece.listed for piece in pieces})
  seen = {piece.clip.name: groups[piece.listed] for piece in pieces if piece.listed in groups}
  return Told(syncs, groups, seen, [line, *([people.line(groups, shown / people.NAME)] if groups else [])])


def kept_clips(rows: Sequence[Mapping], pieces: Sequence[Piece]) -> list[records.FileClip]:
  """The clips to read, trimmed and cropped as the examination found."""
  clips = {piece.clip.name: piece.clip for piece in pieces}
  return [
    replace(clips[row["name"]], start=row["start"], length=row["length"], crop=row["crop"])
    for row in rows
    if row["kept"]
  ]


def kept_entries(rows: Sequence[Mapping], pieces: Sequence[Piece]) -> list[splits.Entry]:
  """What the splits are dealt by: the clips that are kept, and their places in the files that the user named."""
  by_name = {piece.clip.name: piece for piece in pieces}
  entries = []
  for row in rows:
    if row["kept"]:
      piece = by_name[row["name"]]
      start = row["start"] - piece.clip.start + piece.begins
      entries.append(splits.Entry(row["name"], row["episode"], row["source"], start, row["length"], row["path"]))
  return entries


def check_budget(rows: Sequence[Mapping], max_bad_fraction: float) -> None:
  """Raises: InputError: more clips are at fault than may be."""
  bad = Counter(row["fault"] for row in rows if row["fault"])
  if rows and sum(bad.values()) == len(rows):
    raise InputError(f"none of the {len(rows)} clips can be used; the first: {rows[0]['reason']}")
  if sum(bad.values()) > max_bad_fraction * len(rows):
    causes = ", ".join(f"{count} {fault}" for fault, count in bad.most_common())
    count = f"{sum(bad.values())} of {len(rows)} clips are at fault"
    raise InputError(f"{count} ({causes}), more than --max_bad_fraction={max_bad_fraction:g}")


def write_review(work: Path, rows: Sequence[Mapping], told: Told, entries: Sequence[splits.Entry]) -> list[str]:
  """Writes review.html beside its pictures. Returns: lines that tell what to do with it."""
  pictures = {row["name"]: picture_of(work, row["name"]) for row in rows}
  pictures = {name: path.relative_to(work).as_posix() for name, path in pictures.items() if path.exists()}
  again = "the same command, with --decisions=decisions.json and without --stop_after"
  shown = [row for row in rows if not row["fault"]]
  pages.write_review(work / pages.REVIEW, shown, pictures, again, told.faces)
  manifest.write(work / manifest.NAME, [_without_inner(row) for row in rows])
  if told.groups:
    people.write(work / people.NAME, told.groups, entries)
  flags = Counter(flag for row in shown for flag in row["flags"])
  return [
    f"{len(shown)} clips to review, {len(rows) - len(shown)} rejected",
    *(f"  {flag:14} {count:6}" for flag, count in flags.most_common()),
    f"open {work / pages.REVIEW}, save decisions.json, then: {again}",
  ]


def tell(rows, pieces, told: Told, listed, work: Path, folder: Path, dealt: Mapping, metadata: Mapping) -> None:
  """Writes manifest.jsonl and report.html into a data set. Args: listed: splits.Entry of every recording."""
  if told.groups:
    people.write(folder / people.NAME, told.groups, listed)
  manifest.write(folder / manifest.NAME, finish_manifest(rows, pieces, dealt))
  pictures = {row["name"]: picture_of(work, row["name"]) for row in rows}
  pictures = {name: path for name, path in pictures.items() if path.exists()}
  pages.write_report(folder / pages.REPORT, rows, pictures, metadata, told.syncs, told.faces)


def finish_manifest(rows: Sequence[dict], pieces: Sequence[Piece], dealt: Mapping[str, Sequence[str]]) -> list[dict]:
  """The rows of manifest.jsonl: times in the recording's own seconds, so that the manifest is a list for --input."""
  by_name = {piece.clip.name: piece for piece in pieces}
  split_of = {name: split for split, names in dealt.items() for name in names}
  done = []
  for row in rows:
    row = _without_inner(row)
    length, name = row.pop("length"), row["name"]
    first = row.get("facts", {}).pop("first", 0.0)
    if piece := by_name.get(name):
      # A segment's clock may start before its first picture, with what an encoder puts before the sound.
      start = row["start"] - piece.clip.start + piece.begins - (first if piece.segment else 0.0)
      row["start"] = round(max(start, 0.0), 6)
    row["end"] = None if length is None else round(row["start"] + length, 6)
    row["split"] = split_of.get(name) if row["kept"] else None
    if row["path"].startswith(("http://", "https://")):
      row["url"] = row.pop("path")
    done.append(row | row.pop("facts", {}))
  return sorted(done, key=lambda row: row["name"])


def _without_inner(row):
  return {key: value for key, value in row.items() if key not in INNER}
