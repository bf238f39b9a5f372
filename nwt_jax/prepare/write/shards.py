"""The last steps: clips dealt to splits, made into records and written as shards (appendix D.6 to D.10)."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nwt_jax.data import dataset
from nwt_jax.io import audio
from nwt_jax.io.progress import Progress
from nwt_jax.prepare.cache import short
from nwt_jax.prepare.engines.local import Shard
from nwt_jax.prepare.review import manifest
from nwt_jax.prepare.write import records as sources
from nwt_jax.prepare.write import splits

BETWEEN = "lies between blocks of different splits"  # the reason, see blocks.py


@dataclass(frozen=True)
class Building:
  """A data set of clips in the making: where, of what, and what its metadata is to say beside what is found.

  output, overwrite, seed, holdout, records_per_shard, deal: the program's flags. work: see workplace.py.
  """

  output: str | os.PathLike
  overwrite: bool
  work: Path
  picture: sources.Picture
  seed: int
  holdout: Sequence[str]
  records_per_shard: int
  facts: Mapping
  deal: str = ""

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
    by_name = {clip.name: clip for clip in clips}
    home = {entry.name: entry.episode for entry in entries}
    left_out = {}
    with dataset.building(self.output, self.overwrite) as folder:
      while True:
        there = [entry for entry in entries if entry.name not in left_out]
        gone = set(home.values()) - {entry.episode for entry in there}
        dealt = splits.assign(there, self.seed, set(self.holdout) - gone, self.deal)
        known = {home[name] for name in dealt["train"]}
        numbers = [episode for episode in order if episode in known]
        work, shards, notes, bar = self._make(dealt, by_name, home, numbers, engine)
        left_out |= {name: reason for note in notes.values() for name, reason in note["left_out"].items()}
        untrained = known - {home[name] for name in dealt["train"] if name not in left_out}
        if not untrained:
          break
        # An episode lost what it was to train on only when its clips were read: without them others train.
        bar.say(f"dealt again without what is left out: no clip is left to train {', '.join(sorted(untrained))} on")
      for path in notes:
        target = folder / path.relative_to(work)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)  # not moved: a call that is cut off here must find it
      index = {split: [notes[shard.path]["rows"] for shard in some] for split, some in shards.items()}
      between = home.keys() - {name for names in dealt.values() for name in names} - left_out.keys()
      for row in rows:
        if row["name"] in left_out:
          row |= {"kept": False, "fault": "unreadable", "reason": left_out[row["name"]], "decided_by": "reading"}
        elif row["name"] in between:
          row |= {"kept": False, "reason": BETWEEN, "decided_by": manifest.BETWEEN_BLOCKS}
      found = {
        "sample_rate": audio.SAMPLE_RATE,
        "mel": audio.MEL_ARGUMENTS,
        "episodes": numbers,
        "holdout_episodes": sorted({entry.episode for entry in there} - known),
        "skipped": {row["name"]: row["reason"] for row in sorted(rows, key=lambda row: row["name"]) if not row["kept"]},
      }
      metadata = dataset.describe_dataset(folder, "clips", dataset.clip_features(), index, {**self.facts, **found})
      tell(folder, dealt, metadata)
    return metadata

  def _make(self, dealt, by_name, home, numbers, engine):
    """Makes the records of clips that were dealt; shards from an earlier call are taken as they are.

    Returns: the folder of the shards, the Shards of each split, {path: note} of each, the progress.
    """
    # An episode without training clips has no embedding: -1 asks for the mean one.
    number = lambda name: numbers.index(home[name]) if home[name] in numbers else -1
    jobs = {split: [(by_name[name], number(name), self.picture) for name in names] for split, names in dealt.items()}
    bar = Progress("prepare", sum(map(len, jobs.values())))
    # Shards of an earlier call are taken up where they hold the very same clips of the very same files.
    every = [job for split in jobs for job in (split, *jobs[split])]
    work = self.work / f"building-{short(self.facts['request'], self.records_per_shard, *every)}"

    def report(name, reason):
      bar.step()
      if reason:
        bar.say(f"left out: {reason}")

    size = self.records_per_shard
    shards = {
      split: [
        Shard(path, some[n * size : (n + 1) * size])
        for n, path in enumerate(dataset.shard_paths(work, "clips", split, -(-len(some) // size)))
      ]
      for split, some in jobs.items()
    }
    every = [shard for some in shards.values() for shard in some]
    for shard in every:
      shard.path.parent.mkdir(parents=True, exist_ok=True)
    missing = [shard for shard in every if not _note(shard.path).exists()]
    bar.step(sum(len(shard.jobs) for shard in every if shard not in missing), known=True)
    engine.write_shards(missing, sources.try_record, write_shard, report)
    bar.close()
    return work, shards, {shard.path: json.loads(_note(shard.path).read_text()) for shard in every}, bar


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
    rows = dataset.write_shard(part, records())
    os.replace(part, path)
  finally:
    part.unlink(missing_ok=True)
  note = {"rows": rows, "left_out": left_out}
  part.write_text(json.dumps(note))
  os.replace(part, _note(path))
  return note


def _note(path):
  return path.with_name(f"{path.name}.json")
