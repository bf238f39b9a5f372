"""Work on many clips at once, on this machine: results in the order of the jobs, whatever the number of processes."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2


@dataclass(frozen=True)
class Shard:
  """A file of records to write, and the jobs that make them, in order."""

  path: Path
  jobs: Sequence


class Local:
  """Runs jobs in processes of this machine. Args: workers: how many; 1 works in this process."""

  def __init__(self, workers: int):
    self.workers = workers

  def map(self, function: Callable, jobs: Iterable) -> Iterator:
    """Yields function(job) for each job, in their order. `function` must be found by name in a module."""
    if self.workers == 1:
      yield from map(function, jobs)
      return
    # Fresh processes: a fork of a process with threads can hang. Twice as many jobs as workers bounds the memory.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(self.workers, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
      waiting = deque()
      try:
        for job in jobs:
          waiting.append(pool.submit(function, job))
          if len(waiting) >= 2 * self.workers:
            yield waiting.popleft().result()
        while waiting:
          yield waiting.popleft().result()
      finally:
        for future in waiting:
          future.cancel()

  def write_shards(self, shards: Sequence[Shard], make: Callable, write: Callable, report: Callable) -> list[dict]:
    """Writes each shard from what its jobs make.

    Args: make: job -> (name, record or None, reason why there is none). write: (path, those of the shard's jobs) ->
      what to return for the shard. report: called with name and reason after every job.
    """
    made = self.map(make, (job for shard in shards for job in shard.jobs))

    def results(shard):
      for _ in shard.jobs:
        name, record, reason = next(made)
        report(name, reason)
        yield name, record, reason

    return [write(shard.path, results(shard)) for shard in shards]
