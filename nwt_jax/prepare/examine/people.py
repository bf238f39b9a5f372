"""Do recordings that count as one episode show several people? A hint from the shapes of faces, not a decision (D.5).

The mesh of a face, without what speech moves, differs more between people than between recordings of one person; see
docs/preparation.md for how often that is right.
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
from nwt_jax.prepare.examine import faces
from nwt_jax.prepare.write.records import DEFAULT_EPISODE

NAME = "people.csv"
# Mean distance of shapes from which two groups are two people. Chosen on three people: eight recordings of one, two of
# another, one of a third.
_APART = 0.035
_COMPARED = 1000  # recordings compared with one another; others join the group nearest to them
NOBODY = "no_face"


def group(rows: Sequence[Mapping], listed: Mapping[str, str]) -> dict[str, str]:
  """Groups recordings by the faces that they show.

  Args: rows: of the manifest. listed: clip -> the recording, as the user names it, that it comes from.
  Returns: recording -> person_1 (who has most of them), person_2 ..., or NOBODY; empty: nothing tells of two people.
  """
  shapes = defaultdict(list)
  for row in rows:
    shape = faces.shape_of(row.get("shape", ""))
    if row["episode"] == DEFAULT_EPISODE and not row["fault"] and shape is not None and "no_face" not in row["flags"]:
      shapes[listed[row["name"]]].append(shape)
  names = sorted(shapes)
  if len(names) < 2:
    return {}
  _, laid = face.common_shape([face.common_shape(shapes[name])[0] for name in names])
  laid = laid.reshape(len(names), -1)
  chosen = np.unique(np.linspace(0, len(names) - 1, _COMPARED).astype(int))
  numbers = fcluster(average(pdist(laid[chosen])), _APART, "distance")
  if numbers.max() == 1:
    return {}
  middles = np.stack([np.median(laid[chosen][numbers == n], axis=0) for n in range(1, numbers.max() + 1)])
  places = np.array([np.argmin(np.linalg.norm(middles - shape, axis=1)) for shape in laid])
  places[chosen] = numbers - 1
  ranked = {place: rank for rank, (place, _) in enumerate(Counter(places.tolist()).most_common(), 1)}
  found = {name: f"person_{ranked[place]}" for name, place in zip(names, places.tolist(), strict=True)}
  others = {listed.get(row["name"], row["name"]) for row in rows if row["episode"] == DEFAULT_EPISODE}
  return found | {name: NOBODY for name in sorted(others - set(found))}


def line(groups: Mapping[str, str], path) -> str:
  """What is said of them."""
  counts = Counter(who for who in groups.values() if who != NOBODY)
  sizes = ", ".join(str(count) for _, count in counts.most_common())
  return (
    f"faces look like {len(counts)} people ({sizes} recordings), and all are one episode: "
    f"correct {path}, and give it as --episodes"
  )


def write(path, groups: Mapping[str, str], entries: Sequence) -> None:
  """Writes a table for --episodes. Args: entries: splits.Entry of every recording, in the order of the table."""
  text = io.StringIO(newline="")
  table = csv.writer(text, lineterminator="\n")
  table.writerow(["clip", "episode", "source"])
  table.writerows([entry.name, groups.get(entry.name, entry.episode), entry.source] for entry in entries)
  part = Path(f"{path}.part")
  part.write_text(text.getvalue(), encoding="utf-8")
  os.replace(part, path)
