"""The last steps: clips are assigned to splits, made into records and written as shards (appendix D.6 to D.10)."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nwt_jax.data import dataset
from nwt_jax.io import audio, mel
from nwt_jax.io.progress import Progress
from nwt_jax.prepare.cache import short_hash
from nwt_jax.prepare.clip import ClipRecord
from nwt_jax.prepare.engines.beam import Beam
from nwt_jax.prepare.engines.local import Local, Shard
from nwt_jax.prepare.options import PrepareOptions
from nwt_jax.prepare.review import manifest
from nwt_jax.prepare.write import records, splits

BETWEEN = "lies between blocks of different splits"  # the reason, see blocks.py


@dataclass(frozen=True)
class ShardWriter:
  """Writes a data set of clips into a folder beside `options.output`, which is renamed to it when it is whole.

  work: OUTPUT.work, which keeps finished shards for the next call if this one is interrupted. facts: entries of the
  metadata that do not follow from the clips.
  """

  options: PrepareOptions
  work: Path
  facts: Mapping[str, Any]

  def write(
    self, clips: Sequence[ClipRecord], order: Sequence[str], engine: Local | Beam, finish: Callable
  ) -> dict[str, Any]:
    """Steps 6 to 10: assigns the clips that are kept to splits, makes their records and writes them.

    Args: order: names of the episodes, in the order of their numbers. finish: called with the folder, all clips with
      their decisions, the names in each split and the metadata, before the data set is moved to its place.
    Returns: the metadata.
    """
    options = self.options
    kept = {clip.name: clip for clip in clips if clip.kept}
    left_out = {}
    with dataset.atomic_folder(options.output, options.overwrite) as folder:
      while True:
        there = [clip for clip in kept.values() if clip.name not in left_out]
        gone = {clip.episode for clip in kept.values()} - {clip.episode for clip in there}
        assigned = splits.assign(there, options.seed, set(options.holdout_episodes) - gone, options.deal)
        known = {kept[name].episode for name in assigned["train"]}
        episodes = [episode for episode in order if episode in known]
        shards, receipts, bar = self._write_shards(assigned, kept, episodes, engine)
        left_out |= {name: reason for receipt in receipts.values() for name, reason in receipt["left_out"].items()}
        untrained = known - {kept[name].episode for name in assigned["train"] if name not in left_out}
        if not untrained:
          break
        # An episode lost what it was to train on only when its clips were read: without them others train.
        bar.log(f"dealt again without what is left out: no clip is left to train {', '.join(sorted(untrained))} on")
      for path in receipts:
        target = folder / path.relative_to(path.parents[2])
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)  # not moved: a call that is cut off here must find it
      index = {split: [receipts[shard.path]["rows"] for shard in some] for split, some in shards.items()}
      between = kept.keys() - {name for names in assigned.values() for name in names} - left_out.keys()
      clips = [_ended(clip, left_out.get(clip.name), clip.name in between) for clip in clips]
      found = {
        "sample_rate": audio.SAMPLE_RATE,
        "mel": mel.MEL_ARGUMENTS,
        "episodes": episodes,
        "holdout_episodes": sorted({clip.episode for clip in there} - known),
        "skipped": {clip.name: clip.reason for clip in sorted(clips, key=lambda clip: clip.name) if not clip.kept},
      }
      metadata = dataset.describe_dataset(folder, "clips", dataset.clip_features(), index, {**self.facts, **found})
      finish(folder, clips, assigned, metadata)
    return metadata

  def _write_shards(self, assigned, clips, episodes, engine):
    """Makes the records of the clips of each split; shards from an earlier call are reused.

    Returns: the Shards of each split, the note of each shard by its path, and the progress.
    """
    options, picture = self.options, self.options.picture
    # An episode without training clips has no embedding: -1 asks for the mean one.
    number = lambda episode: episodes.index(episode) if episode in episodes else -1
    jobs = {
      split: [(clips[name], number(clips[name].episode), picture) for name in names]
      for split, names in assigned.items()
    }
    bar = Progress("prepare", sum(map(len, jobs.values())))
    # Shards of an earlier call are taken up where they hold the very same clips of the very same files.
    every = [part for split, some in jobs.items() for part in (split, *(f"({c.key}, {n}, {p})" for c, n, p in some))]
    work = self.work / f"building-{short_hash(self.facts['request'], options.records_per_shard, *every)}"

    def report(name, reason):
      bar.step()
      if reason:
        bar.log(f"left out: {reason}")

    size = options.records_per_shard
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
    missing = [shard for shard in every if not _receipt(shard.path).exists()]
    bar.step(sum(len(shard.jobs) for shard in every if shard not in missing), known=True)
    engine.write_shards(missing, records.try_record, commit_shard, report)
    bar.close()
    return shards, {shard.path: json.loads(_receipt(shard.path).read_text()) for shard in every}, bar


def _ended(clip, reason, between):
  """Returns the clip, with the reason if it is in no split: its file could not be read, or it lies between blocks."""
  if reason is not None:
    return replace(clip.with_fault("unreadable", reason), kept=False, decided_by="reading")
  return replace(clip, kept=False, reason=BETWEEN, decided_by=manifest.BETWEEN_BLOCKS) if between else clip


def commit_shard(path: Path, results: Iterable) -> dict:
  """Writes one shard and a note that it is whole. Args: results: (name, record or None, reason). Returns: the note."""
  left_out = {}

  def made():
    for name, record, reason in results:
      if record is None:
        left_out[name] = reason
      else:
        yield record

  part = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")  # another attempt may be writing, too
  try:
    rows = dataset.write_shard(part, made())
    os.replace(part, path)
  finally:
    part.unlink(missing_ok=True)
  receipt = {"rows": rows, "left_out": left_out}
  part.write_text(json.dumps(receipt))
  os.replace(part, _receipt(path))
  return receipt


def _receipt(path):
  return path.with_name(f"{path.name}.json")
