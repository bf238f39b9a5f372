"""Chooses the part of the picture to keep: a box from the user, or one around the speaker of a recording (D.3)."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from nwt_jax.errors import InputError
from nwt_jax.io.box import Box
from nwt_jax.prepare.clip import ClipRecord, log_faults


class Framing(NamedTuple):
  """The size and place of a box around a face, in sides of the detected box, which reaches from the brows to the chin.

  tall: height of the box. lower: distance of the face below the middle of the box."""

  tall: float
  lower: float


# GAP: the paper crops one box by hand. `face` shows head and shoulders. `head` is as tight as people who talk allow:
# all of the face, hairline to chin, stays inside in every picture of 30 of 33 recordings (docs/preparation.md).
FRAMINGS = {"face": Framing(2.4, 0.12), "head": Framing(1.6, 0.08)}
_WIDE = 1.4  # sides that a box is wide at least, so that a tall and narrow picture does not cut off ears
_MOUTH = 0.14  # height of both lips in sides of the detected box: the median of 12 recordings of five people
_SMALL = 4.5  # pixels: a smaller mouth is reported
_LEAVES = 0.1  # of a face's side that may lie outside
_OFTEN = 2  # pictures of a clip in which a face leaves the box before that is flagged


def parse(text: str | None) -> str:
  """Checks a crop: `face`, `head`, a Box's text, or "". Raises: InputError: it is something else."""
  return text if text in FRAMINGS else str(Box.parse(text)) if text else ""


def choose(clips: Sequence[ClipRecord], crop: str, aspect: float, log: Callable) -> list[ClipRecord]:
  """Sets `crop` of each clip, a Box's text in pixels of the picture as shown, or "".

  All segments of a recording and all parts of a file share one box around the speaker: the median over their faces. A
  clip whose face leaves the box is flagged; one whose picture does not hold the box is at fault.

  Args: clips: a clip keeps a `crop` of its own, from a list. crop: see parse. aspect: width of the wanted picture over
    its height. log: receives the reasons of faults.
  """
  boxes = _around_speakers(clips, FRAMINGS[crop], aspect) if crop in FRAMINGS else {}
  return [_cropped(clip, clip.crop or boxes.get(clip.name, crop), log) for clip in clips]


def _cropped(clip, text, log):
  if clip.fault or not text:
    return replace(clip, crop="")
  try:
    box = Box.parse(text).on(*clip.shown)
  except InputError as error:
    clip = replace(clip, crop="").with_fault("crop_outside", f"{clip.origin}: {error}")
    log_faults([clip], log)
    return clip
  clip = replace(clip, crop=str(box))
  often = sum(_leaves(some[0], box, clip.shown[1]) for some in clip.heads if some) >= _OFTEN
  return clip.with_flags("face_outside") if often else clip


def _around_speakers(clips, framing, aspect):
  """Returns the Box's text of each clip; all clips of a take, and of a file, share one."""
  seen = [clip for clip in clips if not clip.fault]
  together = DisjointSet(clip.name for clip in seen)
  first = {}
  for clip in seen:
    for key in (("take", clip.take, *clip.shown), ("file", clip.origin, *clip.shown)):
      together.merge(first.setdefault(key, clip.name), clip.name)
  groups = defaultdict(list)
  for clip in seen:
    groups[together[clip.name]].append(clip)
  return {clip.name: _box(some, framing, aspect) for some in groups.values() for clip in some}


def _box(clips, framing, aspect):
  width, height = clips[0].shown
  heads = [some[0] for clip in clips for some in clip.heads if some]
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


def report_lines(clips: Sequence[ClipRecord], crop: str, height: int) -> list[str]:
  """Returns warnings about the parts that are kept: faces that leave them, mouths of few pixels.

  Args: clips: the result of `choose`. crop: see parse. height: height of the wanted pictures, pixels.
  """
  lines, sizes = [], []
  if outside := sum("face_outside" in clip.flags for clip in clips):
    lines.append(f"the face leaves the part that is kept in {outside} of {len(clips)} clips, flagged face_outside")
  for clip in clips:
    sides = [some[0][2] for some in clip.heads if some]
    if sides and not clip.fault:
      box = Box.parse(clip.crop) if clip.crop else None
      tall = box.height if isinstance(box, Box) else clip.shown[1]
      sizes.append(_MOUTH * float(np.median(sides)) * clip.shown[1] / tall * height)
  if sizes and (size := float(np.median(sizes))) < _SMALL:
    tight = _MOUTH / FRAMINGS["head"].tall * height
    hint = "" if crop == "head" else f"--crop=head makes that {tight:.1f}, "
    lines.append(f"lips are about {size:.1f} pixels high: {hint}a larger --height and --width more")
  return lines
