"""The last steps: clips dealt to splits, made into records and written as shards (appendix D.6 to D.10)."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nwt_jax.data import builder, sources, splits
from nwt_jax.data.progress import Progress
from nwt_jax.data.workers import Shard
from nwt_jax.data.workplace import short
from nwt_jax.io import audio


@dataclass(frozen=True)
class Building:
  """A data set of clips in the making: where, of what, and what its metadata is to say beside what is found.

  output, overwrite, seed, holdout, records_per_shard: the program's flags. work: see workplace.py.
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
    # Shards of an earlier call are taken up where they hold the very same clips of the very same files.
    every = [job for split in jobs for job in (split, *jobs[split])]
    work = self.work / f"building-{short(self.facts['request'], self.records_per_shard, *every)}"

    def report(name, reason):
      bar.step()
      if reason:
        bar.say(f"left out: {reason}")

    with builder.building(self.output, self.overwrite) as folder:
      index, left_out = self._write(folder, work, jobs, engine, report, bar.step)
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

  def _write(self, folder, work, jobs, engine, report, step):
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
    step(sum(len(shard.jobs) for shard in every if shard not in missing), known=True)
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
