"""From recordings to a data set, step by step: the whole of appendix D. What a step made is kept until all are done."""

import base64
import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nwt_jax.data import builder, duplicates, manifest, pages, recordings, segments, sources, splits
from nwt_jax.data.examine import FACE_CROP, Look, examine
from nwt_jax.data.progress import Progress
from nwt_jax.data.workers import Shard
from nwt_jax.errors import InputError
from nwt_jax.io import audio, video
from nwt_jax.measure import face, sync

STEPS = ("acquire", "split", "examine")  # after which one can stop
BY_RECORDING = "recordings"  # in place of a table of episodes: each recording is one
SYNC_SECONDS = 60.0  # of a recording that are listened to
SYNC_PART, SYNC_HEIGHT = 10.0, 480  # seconds and pixels of height read at once
SYNC_FRAMES = 5  # an offset from here on is flagged
_DOWNLOADS, _SEGMENTS, _PICTURES, _CACHE, _LOCK = "downloads", "segments", "pictures", "examined.jsonl", "lock"


@dataclass(frozen=True)
class Wanted:
  """Which recordings, and how they are cut; the program's flags of the same names tell more (pattern is --input).

  exclude: folders that are never looked into.
  """

  pattern: str
  root: str | os.PathLike | None = None
  episodes: str | os.PathLike | None = None
  split_seconds: float = 0.0
  exclude: Sequence[Path] = ()


@dataclass(frozen=True)
class Piece:
  """A clip on its way: a file, or a part of one, and where it comes from.

  source: clips of one stay in one split. recording: sound and picture of its clips share one offset. origin: path or
  address. begins: place in the recording, seconds.
  """

  clip: sources.FileClip
  episode: str
  source: str
  recording: str
  origin: str
  begins: float


class Kept:
  """Results of jobs from this and earlier calls, one JSON line each, so that work that was cut off goes on."""

  def __init__(self, path):
    self.path, self.known = Path(path), {}
    for line in self.path.read_text().splitlines() if self.path.exists() else ():
      try:
        key, value = json.loads(line)
        self.known[key] = value
      except ValueError:
        pass  # the last line of a process that was killed
    self.path.parent.mkdir(parents=True, exist_ok=True)

  def map(
    self, engine, function: Callable, jobs: Sequence, keys: Sequence[str], step: Callable, lasts: Callable = bool
  ) -> list:
    """engine.map(function, jobs) without the jobs whose key is known.

    Args: step: called after each. lasts: whether a result is to be kept for later calls.
    """
    missing = [(job, key) for job, key in zip(jobs, keys, strict=True) if key not in self.known]
    for _ in range(len(jobs) - len(missing)):
      step()
    # A line of its own first: the last one may be torn.
    with open(self.path, "a") as file:
      file.write("\n")
      for (_, key), value in zip(missing, engine.map(function, [job for job, _ in missing]), strict=True):
        self.known[key] = value
        if lasts(value):
          file.write(json.dumps([key, value]) + "\n")
          file.flush()
        step()
    return [self.known[key] for key in keys]


def parse_crop(text: str | None) -> str:
  """`face`, a Box's text, or "". Raises: InputError: something else."""
  return text if text == FACE_CROP else str(video.Box.parse(text)) if text else ""


def request(wanted: Wanted) -> list:
  """What the recordings are, for telling whether a data set was made from the same ones. Raises: InputError."""
  found = recordings.find(wanted.pattern, wanted.root, wanted.exclude)
  if wanted.split_seconds and (parts := [r.name for r in found if r.start or r.length is not None]):
    raise InputError(f"{parts[0]} is a part of its file already; leave --split_seconds and --preset out")
  entries = _episodes(wanted, found)
  stamps = [[r.name, r.start, r.length, *((r.where,) if r.remote else _stamp(r.where))] for r in found]
  return [wanted.split_seconds, stamps, [[e.name, e.episode, e.source] for e in entries]]


def gather(
  wanted: Wanted, work: Path, workers: int, say: Callable, stop_after: str = ""
) -> tuple[list[Piece], list[dict]]:
  """Steps 1 and 2: the pieces of all recordings, and manifest rows of the recordings that gave none."""
  found = recordings.find(wanted.pattern, wanted.root, wanted.exclude)
  entries = {entry.name: entry for entry in _episodes(wanted, found)}
  paths, failed = recordings.acquire(found, work / _DOWNLOADS, say)
  lost = [_lost(r, entries[r.name], failed[r.name]) for r in found if r.name in failed]
  for row in lost:
    say(f"left out: {row['reason']}")
  if stop_after == "acquire":
    say(f"{len(paths)} of {len(found)} recordings are here")
    return [], lost

  def cut(recording):
    path, entry = paths[recording.name], entries[recording.name]
    # PAPER: D.10 deals each episode's clips to all splits; where a recording is an episode, it cannot stay together.
    alone = wanted.episodes == BY_RECORDING and not recording.source

    def make(begins, name, *part):
      source = f"clip {name}" if alone else entry.source
      clip = sources.FileClip(name, *part)
      return Piece(clip, entry.episode, source, entry.source, recording.where, begins)

    if not wanted.split_seconds:
      return [make(recording.start, recording.name, path, recording.start, recording.length, recording.crop)]
    folder = work / _SEGMENTS / _short(recording.name, path, *_stamp(path), wanted.split_seconds)
    parts = segments.split(path, folder, wanted.split_seconds)
    return [make(part.start, f"{recording.name}_{n:05d}", str(part.path)) for n, part in enumerate(parts)]

  def attempt(recording):
    try:
      return cut(recording), []
    except (InputError, OSError) as error:
      return [], [_lost(recording, entries[recording.name], str(error))]

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
    return sources.read_episodes(wanted.episodes, names)
  default = lambda r: r.name if wanted.episodes == BY_RECORDING else sources.DEFAULT_EPISODE
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
  """Step 5 (and the crop of 3, the trim of 4): examines every piece. Returns: manifest rows; pictures lie in `work`."""
  if not pieces:
    return []
  kept, bar = Kept(work / _CACHE), Progress("examine", len(pieces))
  looks = [replace(look, crop=p.clip.crop) if p.clip.crop else look for p in pieces]
  jobs = [
    (p.clip.path, look, p.clip.start, p.clip.length, str(picture_of(work, p.clip.name)))
    for p, look in zip(pieces, looks, strict=True)
  ]
  keys = [_short("examine", str(job), *_stamp(job[0])) for job in jobs]
  (work / _PICTURES).mkdir(parents=True, exist_ok=True)
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


def picture_of(work: Path, name: str) -> Path:
  """Where the strip of pictures of a clip lies."""
  return work / _PICTURES / f"{_short(name)}.jpg"


def join_duplicates(rows: Sequence[dict]) -> int:
  """The same recording under two names: flags all but the longest, and gives all of them one source (step 10).

  Changes `rows`, which lose their `print`. Returns: how many were flagged.
  """
  prints = {row["name"]: np.frombuffer(base64.b64decode(row.pop("print", "")), np.uint32) for row in rows}
  groups = duplicates.same_recordings({row["name"]: prints[row["name"]] for row in rows if not row["fault"]})
  same = defaultdict(list)
  for row in rows:
    if digest := row.get("facts", {}).get("sha256"):
      same[digest, row["start"], row["length"]].append(row["name"])
  home = {row["source"]: row["source"] for row in rows}

  def root(source):
    while home[source] != source:
      source = home[source]
    return source

  by_name, flagged = {row["name"]: row for row in rows}, set()
  for names in [*groups, *(names for names in same.values() if len(names) > 1)]:
    flagged |= set(sorted(names, key=lambda name: (-(by_name[name]["length"] or 0.0), name))[1:])
    for name in names:
      first, second = sorted((root(by_name[names[0]]["source"]), root(by_name[name]["source"])))
      home[second] = first
  for row in rows:
    row["source"] = root(row["source"])
    if row["name"] in flagged and not row["fault"]:
      row["flags"] = [*row["flags"], "duplicate"]
  return len(flagged)


def listen(rows: Sequence[dict], pieces: Sequence[Piece], work: Path, engine) -> dict[str, tuple[str, bool]]:
  """Sound against mouth, once a recording; flags the clips of those that are apart.

  Returns: recording -> (what was found, whether it was flagged)."""
  clips = {piece.clip.name: piece.clip for piece in pieces}
  by_recording, found = defaultdict(list), {}
  for row in rows:
    if not row["fault"] and not {"no_face", "silent"} & set(row["flags"]):
      by_recording[row["recording"]].append(row)
  jobs = []
  for recording, some in sorted(by_recording.items()):
    seconds = sum(row["length"] for row in some)
    if seconds < sync.MIN_SECONDS:
      found[recording] = f"unknown: {seconds:.0f} s, and {sync.MIN_SECONDS:.0f} are needed", False
      continue
    left, chosen = SYNC_SECONDS, []
    for row in some:
      if left > 0:
        length = min(row["length"], left)
        chosen.append(replace(clips[row["name"]], start=row["start"], length=length, crop=""))
        left -= length
    jobs.append((recording, tuple(chosen)))
  if len(by_recording) > 100 and not jobs:
    found = {"all recordings": (f"unknown: none of {len(by_recording)} has {sync.MIN_SECONDS:.0f} s", False)}
  if not jobs:
    return found
  kept, bar = Kept(work / _CACHE), Progress("sound against mouth", len(jobs), "recordings")
  keys = [_short("sync", str(job), *(_stamp(clip.path) for clip in job[1])) for job in jobs]
  for recording, lag, confidence, correlation in kept.map(engine, measure_sync, jobs, keys, bar.step):
    if confidence < sync.CONFIDENT:
      found[recording] = f"unknown: confidence {confidence:.2f}, and {sync.CONFIDENT} is needed", False
      continue
    apart = abs(lag) >= SYNC_FRAMES
    way = "late" if lag > 0 else "early"
    text = f"sound {abs(lag)} frames {way}" if apart else "together"
    found[recording] = f"{text} (offset {lag:+d}, confidence {confidence:.2f}, correlation {correlation:.2f})", apart
    for row in by_recording[recording] if apart else ():
      row["flags"] = [*row["flags"], "sync"]
  bar.close()
  return found


def measure_sync(job) -> list:
  """Args: job: recording, clips of it. Returns: [recording, *sync.Sync]."""
  recording, clips = job
  openings, mels = [], []
  for clip in clips:
    try:
      heard = audio.read_audio(clip.path, start=clip.start, length=clip.length)
      parts = []
      for begin in np.arange(0.0, clip.length, SYNC_PART):  # so that memory does not grow with the recording
        length = min(SYNC_PART, clip.length - begin)
        frames = video.read_video(clip.path, start=clip.start + begin, length=length, max_height=SYNC_HEIGHT)
        parts.append(face.mouth_opening(frames))
      opening = np.concatenate(parts)
    except InputError:
      continue  # the records of the clip tell why
    openings.append(opening)
    mels.append(audio.log_mel(heard, len(opening)))
  return [recording, *sync.estimate(openings, mels)]


def kept_clips(rows: Sequence[Mapping], pieces: Sequence[Piece]) -> list[sources.FileClip]:
  """The clips to read, trimmed and cropped as the examination found."""
  clips = {piece.clip.name: piece.clip for piece in pieces}
  return [
    replace(clips[row["name"]], start=row["start"], length=row["length"], crop=row["crop"])
    for row in rows
    if row["kept"]
  ]


def write_review(work: Path, rows: Sequence[Mapping]) -> list[str]:
  """Writes review.html beside its pictures. Returns: lines that tell what to do with it."""
  pictures = {row["name"]: picture_of(work, row["name"]) for row in rows}
  pictures = {name: path.relative_to(work).as_posix() for name, path in pictures.items() if path.exists()}
  again = "the same command, with --decisions=decisions.json and without --stop_after"
  shown = [row for row in rows if not row["fault"]]
  pages.write_review(work / pages.REVIEW, shown, pictures, again)
  manifest.write(work / manifest.NAME, rows)
  flags = Counter(flag for row in shown for flag in row["flags"])
  return [
    f"{len(shown)} clips to review, {len(rows) - len(shown)} rejected",
    *(f"  {flag:14} {count:6}" for flag, count in flags.most_common()),
    f"open {work / pages.REVIEW}, save decisions.json, then: {again}",
  ]


@contextlib.contextmanager
def workplace(output) -> Iterator[Path]:
  """OUTPUT.work, where the steps leave what they made: after an error all of it, for the next call; else downloads.

  Raises: InputError: it cannot be made, or another program is at work there.
  """
  work, output = work_of(output), Path(output)
  try:
    work.mkdir(parents=True, exist_ok=True)
    lock = open(work / _LOCK, "w")  # noqa: SIM115 (closed below)
  except OSError as error:
    raise InputError(f"cannot write {work}: {error}; give an --output that can be written to") from error
  with lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      raise InputError(f"another program is preparing {output}; wait for it, or give another --output") from error
    for left in output.parent.glob(f".{glob.escape(output.name)}-building-*"):  # by a call that was killed
      shutil.rmtree(left, ignore_errors=True)
    try:
      yield work
    finally:
      (work / _LOCK).unlink(missing_ok=True)
      for folder, _, _ in os.walk(work, topdown=False):
        if not os.listdir(folder):
          os.rmdir(folder)


def work_of(output) -> Path:
  """The folder beside a data set that its preparation works in."""
  return Path(f"{os.fspath(output).rstrip('/')}.work")


def clear(work: Path) -> None:
  """Removes what the steps left behind, but not downloads, nor what is not theirs."""
  for pattern in (
    _SEGMENTS,
    _PICTURES,
    _CACHE,
    pages.REVIEW,
    manifest.NAME,
    "building-*",
    "beam-*",
    "dead_letters.jsonl",
  ):
    for path in work.glob(pattern):
      shutil.rmtree(path) if path.is_dir() else path.unlink()


def check_budget(rows: Sequence[Mapping], max_bad_fraction: float) -> None:
  """Raises: InputError: more clips are at fault than may be."""
  bad = Counter(row["fault"] for row in rows if row["fault"])
  if rows and sum(bad.values()) == len(rows):
    raise InputError(f"none of the {len(rows)} clips can be used; the first: {rows[0]['reason']}")
  if sum(bad.values()) > max_bad_fraction * len(rows):
    causes = ", ".join(f"{count} {fault}" for fault, count in bad.most_common())
    count = f"{sum(bad.values())} of {len(rows)} clips are at fault"
    raise InputError(f"{count} ({causes}), more than --max_bad_fraction={max_bad_fraction:g}")


@dataclass(frozen=True)
class Building:
  """A data set of clips in the making: where, of what, and what its metadata is to say beside what is found.

  output, overwrite, seed, holdout, records_per_shard: the program's flags. work: see workplace.
  """

  output: str | os.PathLike
  overwrite: bool
  work: Path
  picture: sources.Picture
  seed: int
  holdout: Sequence[str]
  records_per_shard: int
  facts: Mapping

  def build(
    self,
    clips: Sequence,
    entries: Sequence[splits.Entry],
    order: Sequence[str],
    rows: Sequence[dict],
    engine,
    tell: Callable,
  ) -> dict:
    """Steps 6 to 10: deals the clips to splits, makes their records and writes them.

    Args: clips, entries: one each. order: of the episodes. rows: the manifest; those of clips that give no record are
      changed. tell: called with the folder, the clips of each split and the metadata before the data set is moved to
      its place.
    Returns: the metadata.
    """
    dealt = splits.assign(entries, self.seed, self.holdout)
    home = {entry.name: entry.episode for entry in entries}
    known = {home[name] for name in dealt["train"]}
    order = [episode for episode in order if episode in known]
    by_name = {clip.name: clip for clip in clips}
    # An episode without training clips has no embedding: -1 asks for the mean one.
    number = lambda name: order.index(home[name]) if home[name] in known else -1
    jobs = {split: [(by_name[name], number(name), self.picture) for name in names] for split, names in dealt.items()}
    bar = Progress("prepare", len(entries))
    # Shards of an earlier call are taken up where they hold the very same clips.
    work = (
      self.work
      / f"building-{_short(self.records_per_shard, *(job for split in jobs for job in (split, *jobs[split])))}"
    )

    def report(name, reason):
      bar.step()
      if reason:
        bar.say(f"left out: {reason}")

    with builder.building(self.output, self.overwrite) as folder:
      index, left_out = self._write(folder, work, jobs, engine, report)
      bar.close()
      for row in rows:
        if row["name"] in left_out:
          row |= {"kept": False, "fault": "unreadable", "reason": left_out[row["name"]], "decided_by": "reading"}
      found = {
        "sample_rate": audio.SAMPLE_RATE,
        "mel": audio.MEL_ARGUMENTS,
        "episodes": order,
        "holdout_episodes": sorted(set(home.values()) - known),
        "skipped": {row["name"]: row["reason"] for row in sorted(rows, key=lambda row: row["name"]) if not row["kept"]},
      }
      metadata = builder.describe_dataset(folder, "clips", builder.clip_features(), index, {**self.facts, **found})
      tell(folder, dealt, metadata)
    return metadata

  def _write(self, folder, work, jobs, engine, report):
    """Writes the shards; those from an earlier call are taken as they are.

    Returns: for each split the index rows of each shard; {clip: reason} of those without a record.
    """
    size = self.records_per_shard
    shards = {
      split: [
        Shard(path, some[n * size : (n + 1) * size])
        for n, path in enumerate(builder.shard_paths(work, "clips", split, -(-len(some) // size)))
      ]
      for split, some in jobs.items()
    }
    every = [shard for some in shards.values() for shard in some]
    for shard in every:
      shard.path.parent.mkdir(parents=True, exist_ok=True)
    missing = [shard for shard in every if not _note(shard.path).exists()]
    for shard in every:
      for job in shard.jobs if shard not in missing else ():
        report(job[0].name, "")
    engine.write_shards(missing, sources.try_record, write_shard, report)
    notes = {shard.path: json.loads(_note(shard.path).read_text()) for shard in every}
    for shard in every:
      target = folder / shard.path.relative_to(work)
      target.parent.mkdir(parents=True, exist_ok=True)
      os.link(shard.path, target)  # not moved: a call that is cut off here must find it
    index = {split: [notes[shard.path]["rows"] for shard in some] for split, some in shards.items()}
    return index, {name: reason for note in notes.values() for name, reason in note["left_out"].items()}


def write_shard(path: Path, results) -> dict:
  """Writes one shard and a note that it is whole. Args: results: (name, record or None, reason). Returns: the note."""
  left_out = {}

  def records():
    for name, record, reason in results:
      if record is None:
        left_out[name] = reason
      else:
        yield record

  part = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")  # another attempt may be writing, too
  try:
    rows = builder.write_shard(part, records())
    os.replace(part, path)
  finally:
    part.unlink(missing_ok=True)
  note = {"rows": rows, "left_out": left_out}
  part.write_text(json.dumps(note))
  os.replace(part, _note(path))
  return note


def _note(path):
  return path.with_name(f"{path.name}.json")


def tell(rows, pieces, syncs, work: Path, folder: Path, dealt: Mapping, metadata: Mapping) -> None:
  """Writes manifest.jsonl and report.html into a data set."""
  manifest.write(folder / manifest.NAME, finish_manifest(rows, pieces, dealt))
  pictures = {row["name"]: picture_of(work, row["name"]) for row in rows}
  pictures = {name: path for name, path in pictures.items() if path.exists()}
  pages.write_report(folder / pages.REPORT, rows, pictures, metadata, syncs)


def finish_manifest(rows: Sequence[dict], pieces: Sequence[Piece], dealt: Mapping[str, Sequence[str]]) -> list[dict]:
  """The rows of manifest.jsonl: times in the recording's own seconds, so that the manifest is a list for --input."""
  begins = {piece.clip.name: piece.begins for piece in pieces}
  starts = {piece.clip.name: piece.clip.start for piece in pieces}
  split_of = {name: split for split, names in dealt.items() for name in names}
  done = []
  for row in rows:
    row = dict(row)
    length, name = row.pop("length"), row["name"]
    if name in begins:
      # A piece's clock may start before its first picture, with what an encoder puts before the sound.
      row["start"] = round(row["start"] - starts[name] + begins[name] - row.get("facts", {}).pop("first", 0.0), 6)
    row["end"] = None if length is None else round(row["start"] + length, 6)
    row["split"] = split_of.get(name) if row["kept"] else None
    if row["path"].startswith(("http://", "https://")):
      row["url"] = row.pop("path")
    done.append(row | row.pop("facts", {}))
  return sorted(done, key=lambda row: row["name"])


def _stamp(path):
  try:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns
  except OSError:
    return 0, 0


def _short(*parts) -> str:
  return hashlib.sha256("\n".join(map(str, parts)).encode("utf-8", "surrogateescape")).hexdigest()[:24]
