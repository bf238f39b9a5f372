"""Where clips come from (a folder of videos, the synthetic talker) and how each becomes a record (appendix D.7-D.9)."""

import csv
import glob
import json
import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nwt_jax.data.splits import MEAN, Entry
from nwt_jax.errors import InputError
from nwt_jax.io import audio as sound
from nwt_jax.io import ffmpeg, video

SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv"}
DEFAULT_EPISODE = "default"


@dataclass(frozen=True)
class Picture:
  """How frames are stored: height and width in pixels, frames per second, "jpeg" or "png"; the part of a video that is
  kept (WIDTHxHEIGHT+LEFT+TOP, "" for all)."""

  height: int
  width: int
  fps: int
  image_format: str
  crop: str = ""


@dataclass(frozen=True)
class FileClip:
  """A clip that is a video file."""

  name: str
  path: str

  def read(self, picture):
    """Returns: frames uint8 RGB [t, h, w, 3], audio float32 [samples], truth None. Raises: InputError."""
    crop = video.Box.parse(picture.crop) if picture.crop else None
    frames = video.read_video(self.path, picture.fps, picture.height, picture.width, crop)
    return frames, sound.read_audio(self.path), None


@dataclass(frozen=True)
class TalkerClip:
  """A clip that the synthetic talker performs; `episode` is one of the talker's."""

  name: str
  seed: int
  index: int
  episode: str

  def read(self, picture):
    """Returns: frames uint8 RGB [t, h, w, 3], audio float32 [samples], truth dict. Raises: InputError: no espeak-ng."""
    from nwt_jax.data import talker  # heavy, and needs an extra

    fps = float(picture.fps)
    clip = talker.make_clip(self.seed, self.index, picture.height, picture.width, fps, episode=self.episode)
    return clip.frames, clip.audio, clip.truth


def find_files(pattern: str) -> dict[str, str]:
  """Lists video files and names them.

  Args: pattern: a glob (** for sub-folders), a file, or a folder, which stands for the videos anywhere in it.
  Returns: {name: path}, sorted; a name is the file's stem, or, where two stems are equal, its path without the suffix
    below the folder that all files share.
  Raises: InputError: nothing fits, or two files get one name.
  """
  if os.path.isdir(pattern):
    paths = [path for path in Path(pattern).rglob("*") if path.suffix.lower() in SUFFIXES]
  elif os.path.isfile(pattern):
    paths = [Path(pattern)]
  else:
    paths = [Path(path) for path in glob.glob(os.path.expanduser(pattern), recursive=True)]
  paths = sorted(path for path in paths if path.is_file())
  if not paths:
    raise InputError(f"no video file matches {pattern!r}; give --input=FOLDER or a quoted glob such as 'videos/*.mp4'")
  stems = Counter(path.stem for path in paths)
  if len(stems) == len(paths):
    return {path.stem: str(path) for path in paths}
  root = os.path.commonpath([path.parent for path in paths])
  names = {path.relative_to(root).with_suffix("").as_posix(): str(path) for path in paths}
  if len(names) < len(paths):
    raise InputError(f"files in {root} differ by their suffix alone; rename them, or name one kind in --input")
  return names


def read_episodes(path, names: Iterable[str]) -> list[Entry]:
  """Looks up each clip's episode, and the recording it was cut from, in a table.

  Args: path: CSV with a header: `clip` (the clip's name or file name), `episode` (or `session`), optionally `source`;
    other columns are ignored. names: the clips.
  Returns: an Entry for each name; without a `source`, each clip is its own recording.
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
    key, episode = (row["clip"] or "").strip(), (row[column] or "").strip()
    if not key or not episode:
      raise InputError(f"{path} line {number} lacks its clip or {column}; fill it in, or delete the line")
    if episode == MEAN or set(episode) & set(",@"):
      raise InputError(
        f"{path} line {number}: {episode!r} cannot name an episode: `mean`, `,` and `@` mean other things; rename it"
      )
    if Path(key).suffix.lower() in SUFFIXES:
      key = Path(key).with_suffix("").as_posix()
    if key in table and table[key] != row:
      raise InputError(f"{path} line {number} names the clip {key!r} a second time; keep one of the lines")
    table[key] = row
  names = list(names)
  if missing := [name for name in names if name not in table]:
    raise InputError(f"{len(missing)} of {len(names)} clips are not in {path}, {missing[0]!r} first; add them to it")
  return [
    Entry(name, table[name][column].strip(), (table[name].get("source") or "").strip() or f"clip {name}")
    for name in names
  ]


def talker_clips(count: int, seed: int) -> tuple[list[TalkerClip], list[str]]:
  """Clips for the synthetic talker to perform, its episodes in turn.

  Args: count: clips. seed: names the performance. Returns: the clips, and all episode names in the talker's order.
  """
  from nwt_jax.data import talker

  clips = []
  for index in range(count):
    episode = talker.EPISODES[index % len(talker.EPISODES)]
    clips.append(TalkerClip(f"talker_{seed}_{index:05d}", seed, index, episode))
  return clips, list(talker.EPISODES)


def check_files(clips: Iterable[FileClip], workers: int) -> dict[str, str]:
  """Asks ffmpeg about each file, which is much quicker than decoding it.

  Returns: {name: reason} of those that have no picture or no sound.
  """

  def check(clip):
    try:
      info = ffmpeg.probe(clip.path)
    except InputError as error:
      return str(error)
    if not info.has_video:
      return f"{clip.path} holds no picture stream; give a video file"
    return "" if info.has_audio else f"{clip.path} holds no sound stream; give a recording with sound"

  clips = list(clips)
  with ThreadPoolExecutor(workers) as pool:  # threads: ffmpeg does the work
    return {clip.name: reason for clip, reason in zip(clips, pool.map(check, clips), strict=True) if reason}


def make_record(clip, episode: int, picture: Picture) -> dict:
  """Reads a clip and encodes it as a record (builder.clip_features).

  The sound is cut or padded with silence to the length of the picture, so that four mel rows belong to each frame.

  Raises: InputError: the clip cannot be read, or has no frame.
  """
  frames, audio, truth = clip.read(picture)
  samples = len(frames) * sound.SAMPLE_RATE // picture.fps
  audio = sound.to_int16(np.pad(audio[:samples], (0, max(0, samples - len(audio)))))
  return {
    "name": clip.name,
    "episode": episode,
    "frame_count": len(frames),
    "frames": [encode_image(frame, picture.image_format) for frame in frames],
    # From the rounded samples, so that log_mel of the stored sound is the stored mel.
    "mel": sound.log_mel(sound.from_int16(audio), len(frames)),
    "audio": audio,
    "truth": "" if truth is None else json.dumps(truth, sort_keys=True, allow_nan=False),
  }


def encode_image(frame, image_format: str) -> bytes:
  """One frame as JPEG (quality 95, colour at full resolution) or PNG. Args: frame: uint8 RGB [h, w, 3]."""
  image = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR)
  if image_format == "png":
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 4])[1].tobytes()
  settings = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
  return cv2.imencode(".jpg", image, settings)[1].tobytes()


def make_records(
  jobs: Iterable[tuple], picture: Picture, workers: int, report: Callable[[str, str], None]
) -> Iterator[dict]:
  """Makes records in the order of the jobs, whatever the number of workers.

  Args: jobs: (clip, episode number) pairs. workers: processes; 1 works in this one. report: called after every job with
    the clip's name and the reason why it gave no record, or "".
  Yields: records; a clip that cannot be read gives none.
  """
  jobs = ((clip, episode, picture) for clip, episode in jobs)
  for name, record, reason in _in_order(jobs, workers):
    report(name, reason)
    if record is not None:
      yield record


def _in_order(jobs, workers):
  if workers == 1:
    yield from map(_try_record, jobs)
    return
  # Fresh processes: a fork of a process with threads can hang. Twice as many jobs as workers bounds the memory.
  context = multiprocessing.get_context("spawn")
  with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
    waiting = deque()
    try:
      for job in jobs:
        waiting.append(pool.submit(_try_record, job))
        if len(waiting) >= 2 * workers:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()
    finally:
      for future in waiting:
        future.cancel()


def _try_record(job):
  clip, episode, picture = job
  try:
    return clip.name, make_record(clip, episode, picture), ""
  except InputError as error:
    if isinstance(clip, TalkerClip):
      raise  # speech is missing for every clip, not for this one
    return clip.name, None, str(error)
