"""Hints, by the shapes of faces, at recordings of several people that count as one episode (D.5).

The points of a face's mesh that speech does not move differ more between people than between recordings of one person;
docs/preparation.md has how often that is right. Nothing is decided here.
"""

import csv
import io
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.cluster.hierarchy import average, fcluster
from scipy.spatial.distance import pdist

from nwt_jax.metrics import face
from nwt_jax.prepare.acquire.episodes import DEFAULT_EPISODE
from nwt_jax.prepare.acquire.recordings import Recording
from nwt_jax.prepare.clip import ClipRecord
from nwt_jax.prepare.examine import faces

NAME = "people.csv"
# Mean distance of shapes from which two groups are two people. Chosen on three people: eight recordings of one, two of
# another, one of a third.
_DISTANCE = 0.035
_COMPARED = 1000  # recordings compared with one another; others join the group nearest to them
NOBODY = "no_face"


def group(clips: Sequence[ClipRecord]) -> dict[str, str]:
  """Groups recordings by the faces that their clips show.

  Returns: recording -> person_1 (who has most of them), person_2 ..., or NOBODY; empty if all may be one person.
  """
  shapes = defaultdict(list)
  for clip in clips:
    shape = faces.shape_of(clip.shape)
    if clip.episode == DEFAULT_EPISODE and not clip.fault and shape is not None and "no_face" not in clip.flags:
      shapes[clip.recording].append(shape)
  names = sorted(shapes)
  if len(names) < 2:
    return {}
  _, laid = face.common_shape([face.common_shape(shapes[name])[0] for name in names])
  laid = laid.reshape(len(names), -1)
  chosen = np.unique(np.linspace(0, len(names) - 1, _COMPARED).astype(int))
  clusters = fcluster(average(pdist(laid[chosen])), _DISTANCE, "distance")
  if clusters.max() == 1:
    return {}
  middles = np.stack([np.median(laid[chosen][clusters == n], axis=0) for n in range(1, clusters.max() + 1)])
  nearest = np.array([np.argmin(np.linalg.norm(middles - shape, axis=1)) for shape in laid])
  nearest[chosen] = clusters - 1
  ranks = {cluster: rank for rank, (cluster, _) in enumerate(Counter(nearest.tolist()).most_common(), 1)}
  found = {name: f"person_{ranks[cluster]}" for name, cluster in zip(names, nearest.tolist(), strict=True)}
  others = {clip.recording for clip in clips if clip.episode == DEFAULT_EPISODE}
  return found | {name: NOBODY for name in sorted(others - set(found))}


def line(groups: Mapping[str, str], path: str | os.PathLike) -> str:
  """Returns one line about the groups. Args: path: the table's file."""
  counts = Counter(who for who in groups.values() if who != NOBODY)
  sizes = ", ".join(str(count) for _, count in counts.most_common())
  return (
    f"faces look like {len(counts)} people ({sizes} recordings), and all are one episode: "
    f"correct {path}, and give it as --episodes"
  )


def write(path: str | os.PathLike, groups: Mapping[str, str], recordings: Sequence[Recording]) -> None:
  """Writes a table for --episodes. Args: recordings: all, in the order of the table."""
  text = io.StringIO(newline="")
  table = csv.writer(text, lineterminator="\n")
  table.writerow(["clip", "episode", "source"])
  table.writerows([r.name, groups.get(r.name, r.episode), r.source] for r in recordings)
  part = Path(f"{path}.part")
  part.write_text(text.getvalue(), encoding="utf-8")
  os.replace(part, path)
