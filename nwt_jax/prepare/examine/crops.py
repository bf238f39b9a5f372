"""The part of the picture to keep: a box that the user gives, or one around the speaker of a recording (D.3)."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from nwt_jax.errors import InputError
from nwt_jax.io.video import Box


class Framing(NamedTuple):
  """A box around a face. tall: its height, and lower: how far below its middle the face lies, in sides of the detected
  box, which reaches from the brows to the chin."""

  tall: float
  lower: float


# GAP: the paper crops one box by hand. `face` shows head and shoulders. `head` is as tight as people who talk allow:
# all of the face, hairline to chin, stays inside in every picture of 30 of 33 recordings (docs/preparation.md).
FRAMINGS = {"face": Framing(2.4, 0.12), "head": Framing(1.6, 0.08)}
_WIDE = 1.4  # sides that a box is wide at least, so that a tall and narrow picture does not cut off ears
_MOUTH = 0.14  # height of both lips in sides of the detected box: the median of 12 recordings of five people
_SMALL = 4.5  # pixels: a mouth of less is said to be small
_LEAVES = 0.1  # of a face's side that may lie outside
_OFTEN = 2  # pictures of a clip in which a face leaves the box before that is flagged


def parse(text: str | None) -> str:
  """`face`, `head`, a Box's text, or "". Raises: InputError: something else."""
  return text if text in FRAMINGS else str(Box.parse(text)) if text else ""


def choose(rows: Sequence[dict], given: Mapping[str, str], crop: str, aspect: float, say: Callable) -> None:
  """Writes `crop`, a Box's text in pixels of the picture as shown or "", into each row.

  All pieces of a recording and all parts of a file share one box around the speaker: the median over their faces. A
  clip whose face leaves the box is flagged; one whose picture does not hold the box is at fault.

  Args: rows: of the manifest; changed. given: clip -> Box's text from a list. crop: see parse. aspect: width of the
    wanted picture over its height. say: takes the reasons of faults.
  """
  boxes = _around_speakers(rows, FRAMINGS[crop], aspect) if crop in FRAMINGS else {}
  for row in rows:
    row["crop"] = ""
    if row["fault"] or not (text := given.get(row["name"]) or boxes.get(row["name"], crop)):
      continue
    try:
      box = Box.parse(text).on(*row["shown"])
    except InputError as error:
      row["fault"], row["reason"] = "crop_outside", f"{row['path']}: {error}"
      say(f"left out: {row['reason']}")
      continue
    row["crop"] = str(box)
    if sum(_leaves(some[0], box, row["shown"][1]) for some in row["heads"] if some) >= _OFTEN:
      row["flags"] = [*row["flags"], "face_outside"]


def _around_speakers(rows, framing, aspect):
  """clip -> Box's text; one for what stands together."""
  seen = [row for row in rows if not row["fault"]]
  together = DisjointSet(row["name"] for row in seen)
  first = {}
  for row in seen:
    for key in (("recording", row["recording"], *row["shown"]), ("file", row["path"], *row["shown"])):
      together.merge(first.setdefault(key, row["name"]), row["name"])
  groups = defaultdict(list)
  for row in seen:
    groups[together[row["name"]]].append(row)
  return {row["name"]: _box(some, framing, aspect) for some in groups.values() for row in some}


def _box(rows, framing, aspect):
  width, height = rows[0]["shown"]
  heads = [some[0] for row in rows for some in row["heads"] if some]
  if heads:
    x, y, side = np.median(heads, axis=0) * height
    tall = side * max(framing.tall, _WIDE / aspect)
  else:  # the middle of the picture
    x, y, side, tall = width / 2, height / 2, 0.0, height
  tall = min(tall, height, width / aspect)
  wide = tall * aspect
  left = min(max(x - wide / 2, 0), width - wide)
  top = min(max(y - framing.lower * side - tall / 2, 0), height - tall)
  return str(Box(max(1, int(wide)), max(1, int(tall)), int(left), int(top)))


def _leaves(head, box, height):
  x, y, side = (value * height for value in head)
  half = side * (0.5 - _LEAVES)
  inside = box.left <= x - half and x + half <= box.left + box.width
  return not (inside and box.top <= y - half and y + half <= box.top + box.height)


def notes(rows: Sequence[Mapping], crop: str, height: int) -> list[str]:
  """What a user should know of the parts that are kept: faces that leave them, mouths of few pixels.

  Args: rows: of the manifest, after `choose`. crop: see parse. height: of the wanted pictures, pixels.
  """
  lines, sizes = [], []
  if outside := sum("face_outside" in row["flags"] for row in rows):
    lines.append(f"the face leaves the part that is kept in {outside} of {len(rows)} clips, flagged face_outside")
  for row in rows:
    sides = [some[0][2] for some in row.get("heads", ()) if some]
    if sides and not row["fault"]:
      tall = Box.parse(row["crop"]).height if row["crop"] else row["shown"][1]
      sizes.append(_MOUTH * float(np.median(sides)) * row["shown"][1] / tall * height)
  if sizes and (size := float(np.median(sizes))) < _SMALL:
    tight = _MOUTH / FRAMINGS["head"].tall * height
    remedy = "" if crop == "head" else f"--crop=head makes that {tight:.1f}, "
    lines.append(f"lips are about {size:.1f} pixels high: {remedy}a larger --height and --width more")
  return lines
