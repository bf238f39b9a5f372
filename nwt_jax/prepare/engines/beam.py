"""Runs the jobs of a preparation on a cluster by Apache Beam, instead of processes of this machine (extra `beam`).

One clip is one element; functions have no side effects, so that a runner may try one again or twice. Clips without a
record go to an output of their own. Only the last step writes: each shard under its name in one move, so that two
attempts leave the same file. Every worker must see the folders of input and output under the same paths (NFS,
Filestore, a mounted bucket).
"""

import glob
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from nwt_jax.errors import InputError
from nwt_jax.prepare.engines.local import Shard, one_thread

INSTALL = "pip install 'nwt_jax[beam]'"
DEAD = "dead_letters.jsonl"


class Beam:
  """Runs jobs in a Beam pipeline.

  Args: options: Beam's own, such as --runner=DataflowRunner. work: folder that all workers see.
  Raises: InputError: Beam is not installed.
  """

  def __init__(self, options: Sequence[str], work: str | os.PathLike):
    try:
      import apache_beam
      from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
      raise InputError(f"--engine=beam needs the extra `beam`, which is not installed; {INSTALL}") from error
    self._beam = apache_beam
    self._options = PipelineOptions(list(options), save_main_session=False)
    self._work = Path(work)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass  # every pipeline ends by itself

  def map(self, function: Callable, jobs: Iterable) -> Iterator:
    """Does the same as Local.map; results must be JSON."""
    beam = self._beam
    jobs = list(enumerate(jobs))
    if not jobs:
      return

    def build(pipeline):
      done = pipeline | beam.Create(jobs) | beam.Reshuffle() | beam.MapTuple(_Numbered(function))
      return done | beam.Map(json.dumps)

    rows = self._run(build)
    yield from (result for _, result in sorted(rows, key=lambda row: row[0]))

  def write_shards(self, shards: Sequence[Shard], make: Callable, write: Callable, report: Callable) -> list[dict]:
    """Does the same as Local.write_shards; clips without a record are also listed in dead_letters.jsonl of `work`."""
    beam = self._beam
    jobs = [(n, m, job) for n, shard in enumerate(shards) for m, job in enumerate(shard.jobs)]

    def build(pipeline):
      made = (
        pipeline
        | beam.Create(jobs)
        | beam.Reshuffle()
        | beam.FlatMapTuple(_Make(make)).with_outputs("dead", main="all")
      )
      written = made.all | beam.GroupByKey() | beam.MapTuple(_Write(write, [str(shard.path) for shard in shards]))
      return (written, made.dead) | beam.Flatten() | beam.Map(json.dumps)

    results, dead = {}, []
    for number, *rest in self._run(build) if jobs else ():
      if number is None:
        dead.append(dict(zip(("name", "reason"), rest, strict=True)))
      else:
        (results[number],) = rest
    (self._work / DEAD).write_text("".join(json.dumps(row) + "\n" for row in sorted(dead, key=lambda row: row["name"])))
    for n, shard in enumerate(shards):
      for job in shard.jobs:
        report(job[0].name, results[n]["left_out"].get(job[0].name, ""))
    return [results[n] for n in range(len(shards))]

  def _run(self, build):
    """Runs a pipeline that outputs JSON lines. Returns: their values."""
    self._work.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="beam-", dir=self._work)
    try:
      with self._beam.Pipeline(options=self._options) as pipeline:
        build(pipeline) | self._beam.io.WriteToText(f"{folder}/results")
      lines = [line for path in sorted(glob.glob(f"{glob.escape(folder)}/results*")) for line in open(path)]
      return [json.loads(line) for line in lines]
    finally:
      shutil.rmtree(folder, ignore_errors=True)


# Classes, not closures: Beam pickles them by name, so that workers need no copy of this process's main module.


class _Numbered:
  def __init__(self, function):
    self.function = function

  def __call__(self, number, job):
    one_thread()
    return number, self.function(job)


class _Make:
  def __init__(self, make):
    self.make = make

  def __call__(self, shard, index, job):
    from apache_beam.pvalue import TaggedOutput

    one_thread()
    name, record, reason = self.make(job)
    if record is None:
      yield TaggedOutput("dead", (None, name, reason))
    yield shard, (index, (name, record, reason))


class _Write:
  def __init__(self, write, paths):
    self.write, self.paths = write, paths

  def __call__(self, shard, results):
    results = sorted(results, key=lambda pair: pair[0])
    return shard, self.write(Path(self.paths[shard]), (result for _, result in results))
