"""Makes clips of recordings: downloads them, and cuts them at their key frames (appendix D.1 and D.2)."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from nwt_jax.errors import InputError, MachineError
from nwt_jax.prepare.acquire import episodes, recordings, segments
from nwt_jax.prepare.acquire.recordings import Recording
from nwt_jax.prepare.cache import DOWNLOADS, SEGMENTS, file_stamp, short_hash, work_of
from nwt_jax.prepare.clip import ClipRecord, log_faults
from nwt_jax.prepare.options import PrepareOptions
from nwt_jax.prepare.write import splits


def list_recordings(options: PrepareOptions, log: Callable = lambda text: None) -> list[Recording]:
  """Returns the recordings that the options name, with their episodes.

  Raises: InputError: there are none, or some cannot be prepared with these options."""
  exclude = (Path(options.output), work_of(options.output))
  found = recordings.find(str(options.input), options.root, exclude, log)
  if options.split_seconds and (parts := [r.name for r in found if r.start or r.length is not None]):
    raise InputError(f"{parts[0]} is a part of its file already; leave --split_seconds and --preset out")
  return episodes.with_episodes(found, options.episodes, split_by_clip=options.deal != splits.BLOCKS)


def describe(found: Sequence[Recording], split_seconds: float) -> list:
  """Identifies the recordings, ready for JSON: two requests are equal only where these are."""
  stamps = [[r.name, r.start, r.length, *((r.where,) if r.remote else file_stamp(r.where))] for r in found]
  return [split_seconds, stamps, [[r.name, r.episode, r.source] for r in found]]


def gather(found: Sequence[Recording], options: PrepareOptions, work: Path, log: Callable) -> list[ClipRecord]:
  """Downloads recordings and cuts them (D.1, D.2).

  Args: work: OUTPUT.work. log: receives progress lines and the reasons why recordings are left out.
  Returns: first the recordings that gave no clip, which have a fault and no `path`, and then all clips.
  """
  paths, failed = recordings.acquire(found, work / DOWNLOADS, log, options.download_height)
  lost = [_lost(recording, failed[recording.name]) for recording in found if recording.name in failed]
  log_faults(lost, log)
  if options.stop_after == "acquire":
    log(f"{len(paths)} of {len(found)} recordings are here")
    return lost

  def attempt(recording):
    try:
      return _cut(recording, paths[recording.name], options.split_seconds, work), []
    except InputError as error:
      return [], [_lost(recording, str(error))]
    except OSError as error:
      raise MachineError(f"{error.filename or work}: {error.strerror}; make room there, then try again") from error

  clips = []
  with ThreadPoolExecutor(options.workers) as pool:  # threads: ffmpeg does the work
    for some, none in pool.map(attempt, [recording for recording in found if recording.name in paths]):
      clips += some
      lost += none
      log_faults(none, log)
  return [*lost, *clips]


def _cut(recording, path, split_seconds, work):
  """Returns the clips of one recording: all of it, or its segments."""
  whole = _record(recording, path=path, start=recording.start, length=recording.length, crop=recording.crop)
  if not split_seconds:
    return [whole]
  folder = work / SEGMENTS / short_hash(recording.name, path, *file_stamp(path), split_seconds)
  parts = segments.split(path, folder, split_seconds)
  return [
    _record(recording, f"{recording.name}_{n:05d}", path=str(part.path), file_start=part.start, segment=True)
    for n, part in enumerate(parts)
  ]


def _record(recording, name=None, **more):
  name = name or recording.name
  source = f"clip {name}" if recording.split_by_clip else recording.source
  return ClipRecord(
    name, recording.episode, source, recording.name, take=recording.source, origin=recording.where, **more
  )


def _lost(recording, reason):
  clip = ClipRecord(recording.name, recording.episode, recording.source, recording.name, origin=recording.where)
  return replace(clip, start=recording.start, length=recording.length).with_fault("unreadable", reason)
