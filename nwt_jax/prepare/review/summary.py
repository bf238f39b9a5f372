"""A summary of a finished data set: its size, what its splits lack, and what to do next."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from nwt_jax.data import dataset, sizes
from nwt_jax.prepare.review import manifest
from nwt_jax.prepare.write.splits import MORE, SHARES

NAMED = 8  # episodes that are named one by one


def lines(output: str | os.PathLike, metadata: Mapping) -> list[str]:
  """Returns the lines of the summary. Args: output: the data set's folder. metadata: its metadata."""
  counts, frames, episodes = metadata["splits"], metadata["frames"], metadata["episodes"]
  found = [f"{output}: {metadata['width']} x {metadata['height']} frames, {len(episodes)} episode(s)"]
  for split, count in counts.items():
    found.append(f"  {split:10} {count:6} clips {frames[split] / metadata['fps'] / 60:8.1f} minutes")
  index = json.loads((Path(output) / dataset.INDEX).read_text())
  for split in SHARES:
    there = {episodes[row["episode"]] for row in index.get(split, ()) if row["episode"] >= 0}
    if lacking := [episode for episode in episodes if episode not in there]:
      found.append(f"  episodes without a {split} clip: {len(lacking)} of {len(episodes)} ({_named(lacking)})")
  if not all(counts.get(split) for split in SHARES):
    found.append(f"  {MORE}")
  path = Path(output) / manifest.NAME
  rows = manifest.read(path) if path.exists() else []
  if lost := sorted({row["episode"] for row in rows} - {row["episode"] for row in rows if row["kept"]}):
    found.append(f"  episodes that lost all of their clips: {len(lost)} ({_named(lost)})")
  if between := [row for row in rows if row["decided_by"] == manifest.BETWEEN_BLOCKS]:
    minutes = f"{sum(row['end'] - row['start'] for row in between) / 60:8.1f} minutes"
    found.append(f"  between    {len(between):6} clips {minutes} are left out, so that splits are apart (--deal)")
  if metadata["skipped"]:
    found.append(f"  left out   {len(metadata['skipped']):6} clips; report.html and manifest.jsonl say why")
  return [*found, *sizes.next_steps(output, metadata["height"], metadata["width"])]


def _named(episodes):
  return ", ".join(episodes[:NAMED]) + (", ..." if len(episodes) > NAMED else "")
