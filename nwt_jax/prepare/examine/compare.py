"""Compares clips with one another: the offset of the sound, and whether they show several people (D.5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nwt_jax.prepare.clip import ClipRecord
from nwt_jax.prepare.engines.beam import Beam
from nwt_jax.prepare.engines.local import Local
from nwt_jax.prepare.examine import offsets, people


@dataclass(frozen=True)
class Comparison:
  """The results of a comparison.

  syncs: see offsets.estimate_offsets. groups: see people.group. faces: the same by clips. lines: messages to print.
  """

  syncs: Mapping[str, str]
  groups: Mapping[str, str]
  faces: Mapping[str, str]
  lines: Sequence[str]


def compare(
  clips: Sequence[ClipRecord], faces: bool, folder: Path, work: Path, engine: Local | Beam
) -> tuple[list[ClipRecord], Comparison]:
  """Compares all clips. Args: faces: whether faces were looked for, without which nothing is compared. folder: the
  one in which people.csv will lie. Returns: the clips with `sync` and its flag; the comparison."""
  if not faces:
    return list(clips), Comparison({}, {}, {}, [])
  clips, syncs, line = offsets.estimate_offsets(clips, work, engine)
  groups = people.group(clips)
  seen = {clip.name: groups[clip.recording] for clip in clips if clip.path and clip.recording in groups}
  return clips, Comparison(
    syncs, groups, seen, [line, *([people.line(groups, folder / people.NAME)] if groups else [])]
  )
