"""Runs jobs in processes of this machine; results come in the order of the jobs, for any number of processes."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2

from nwt_jax.io import ffmpeg

AHEAD = 12  # jobs given out for each worker, so that they do not wait while a shard is written; bounds the memory


@dataclass(frozen=True)
class Shard:
  """A file of records to write, and the jobs that make them, in order."""

  path: Path
  jobs: Sequence


def start_worker() -> None:
  """Sets up a worker process: it ignores Ctrl-C, ends with its parent, and uses one thread."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the program, which ends its workers
  threading.Thread(target=end_with_parent, daemon=True).start()
  one_thread()


def end_with_parent() -> None:
  """Waits for the parent process to end, and ends this one: a parent that is killed cannot end its workers."""
  parent = multiprocessing.parent_process()
  assert parent is not None
  parent.join()
  os._exit(1)


def one_thread() -> None:
  """Limits OpenCV and ffmpeg to one thread each."""
  cv2.setNumThreads(1)
  ffmpeg.one_thread()


class Local:
  """Runs jobs in processes of this machine, which start at the first jobs and end with the `with` block.

  Args: workers: how many; 1 works in this process.
  """

  def __init__(self, workers: int):
    self.workers = workers
    self._pool, self._others = None, set()

  def __enter__(self):
    return self

  def __exit__(self, kind, *_):
    if self._pool is None:
      return
    if kind is not None:  # an error, Ctrl-C: nobody waits for what is being done
      for worker in set(multiprocessing.active_children()) - self._others:
        worker.terminate()
    self._pool.shutdown(cancel_futures=True)

  def map(self, function: Callable, jobs: Iterable) -> Iterator:
    """Yields function(job) for each job, in their order. `function` must be found by name in a module."""
    if self.workers == 1:
      yield from map(function, jobs)
      return
    if self._pool is None:
      # Fresh processes: a fork of a process with threads can hang.
      context, self._others = multiprocessing.get_context("spawn"), set(multiprocessing.active_children())
      self._pool = ProcessPoolExecutor(self.workers, context, initializer=start_worker)
    waiting = deque()
    try:
      for job in jobs:
        waiting.append(self._pool.submit(function, job))
        if len(waiting) >= AHEAD * self.workers:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()
    finally:
      for future in waiting:
        future.cancel()

  def write_shards(self, shards: Sequence[Shard], make: Callable, write: Callable, report: Callable) -> list[dict]:
    """Writes each shard from the results of its jobs.

    Args: make: job -> (name, record or None, reason why there is none). write: (path, results of the shard's jobs) ->
      the shard's note. report: called with name and reason after every job.
    Returns: the notes of the shards.
    """
    made = self.map(make, (job for shard in shards for job in shard.jobs))

    def results(shard):
      for _ in shard.jobs:
        name, record, reason = next(made)
        report(name, reason)
        yield name, record, reason

    return [write(shard.path, results(shard)) for shard in shards]
