"""Batches for training: windows drawn at random, the batch a pure function of the step (grain)."""

import functools
import logging
import os
from collections.abc import Iterator

import numpy as np

from nwt_jax.data.clips import Clips, Records
from nwt_jax.data.tokens import Tokens
from nwt_jax.errors import InputError

PREFETCH = 2  # batches read ahead by each thread


def video_batches(
  path: str | os.PathLike | None,
  split: str,
  batch_size: int,
  frames: int,
  seed: int,
  start_step: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  num_threads: int = 2,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields endless batches of windows of pixels.

  Batch number n depends on the data set, split, batch_size, frames and seed alone, so that a run that resumes at step n
  gets the same batches as an uninterrupted one. Each process reads its own rows of the batch.

  Args:
    path: folder of clips. split: "train", "validation" or "test". batch_size: clips, of all processes together.
    frames: length of a window; it may start at any frame of a clip. Shorter clips are left out, with one notice.
    seed: 0 to 2**32 - 1. start_step: number of the first batch. process_index, process_count: which rows to read.
    num_threads: batches that are read at the same time; 0 reads in the calling thread.
  Yields:
    "video" uint8 RGB [b, t, h, w, 3], "mel" float32 [b, 4 t, 80], "episode" int32 [b], b = batch_size / process_count.
  Raises:
    InputError: no data set, an empty split, every clip too short, or rows that do not divide among the processes.
  """
  records, rows = Clips(path, split), (process_index, process_count)
  return _batches(records, records.window, batch_size, frames, seed, start_step, rows, num_threads)


def token_batches(
  path: str | os.PathLike | None,
  split: str,
  batch_size: int,
  frames: int,
  seed: int,
  start_step: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  num_threads: int = 2,
  around: tuple[int, int] = (0, 0),
) -> Iterator[dict[str, np.ndarray]]:
  """Yields endless batches of windows of codes; see video_batches.

  Args: around: frames before and after a window whose mel comes with it; they change nothing else in a batch.
  Yields: "codes" uint8 [b, t, i, j, k], "mel" float32 [b, 4 w, 80], w = t + sum(around), "valid" float32 [b, w], which
    is 1 for frames inside the clip, "episode" int32 [b].
  """
  records, rows = Tokens(path, split), (process_index, process_count)
  window = functools.partial(records.window, around=around)
  return _batches(records, window, batch_size, frames, seed, start_step, rows, num_threads)


def long_enough(records: Records, frames: int) -> list[int]:
  """Finds the records that are long enough for a window; one notice reports how many are not.

  Args: records: clips or tokens. frames: length of the window.
  Returns: their numbers.
  Raises: InputError: no record is long enough.
  """
  lengths = [row["frames"] for row in records.index]
  if not lengths:
    raise InputError(f"{records.path} has no {records.kind} for {records.split}; prepare more recordings")
  fit = [i for i, length in enumerate(lengths) if length >= frames]
  if not fit:
    raise InputError(
      f"the longest of the {len(lengths)} {records.split} clips in {records.path} has {max(lengths)} frames, "
      f"wanted windows of {frames}; set --config.data.frames={max(lengths)} or prepare longer clips"
    )
  if len(fit) < len(lengths):
    too_short = len(lengths) - len(fit)
    logging.warning(
      "%d of %d %s clips are shorter than %d frames: left out", too_short, len(lengths), records.split, frames
    )
  return fit


def _batches(records, window, batch_size, frames, seed, start_step, rows, num_threads):
  import grain  # here, because grain imports jax where jax is installed, and nothing else in data/ does

  process_index, process_count = rows
  if batch_size < 1 or batch_size % process_count:
    raise InputError(f"a batch of {batch_size} does not divide among {process_count} processes; change data.batch_size")
  if frames < 1:
    raise InputError(f"windows of {frames} frames; set --config.data.frames to 1 or more")
  local = batch_size // process_count
  fit = long_enough(records, frames)

  def draw(index, rng):
    clip = fit[index]
    return clip, int(rng.integers(records.index[clip]["frames"] - frames + 1))

  def read(windows):
    mine = windows[process_index * local : (process_index + 1) * local]
    parts = [window(clip, start, frames) for clip, start in mine]
    return {key: np.stack([part[key] for part in parts]) for key in parts[0]}

  # What to read is drawn and batched before anything is read, so that a process reads its rows alone.
  plan = grain.MapDataset.range(len(fit)).seed(seed).shuffle().repeat().random_map(draw)
  plan = plan.batch(batch_size, drop_remainder=True, batch_fn=list)[start_step:].map(read)
  options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=PREFETCH * num_threads)
  return iter(plan.to_iter_dataset(options))
