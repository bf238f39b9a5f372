"""The decision about every clip: manifest.jsonl, and the decisions that a reviewer makes (appendix D.5)."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nwt_jax.errors import InputError
from nwt_jax.names import plain
from nwt_jax.prepare.clip import FLAGS, ClipRecord

NAME = "manifest.jsonl"
ALL = "all"
BETWEEN_BLOCKS = "--deal"  # who decided that a clip between blocks is in no split


def read_decisions(path: str | os.PathLike) -> dict[str, dict]:
  """Reads the decisions that review.html saved.

  Args: path: JSON, {clip: {"keep": true or false, "reason": text}}. Raises: InputError: the file has another form.
  """
  try:
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    found = {plain(name): decision for name, decision in found.items()}
    for name, decision in found.items():
      if not isinstance(decision["keep"], bool) or not isinstance(decision.get("reason", ""), str):
        raise ValueError(f"{name!r} has {decision}")
  except OSError as error:
    raise InputError(f"cannot read the decisions {path}: {error}; save them from review.html") from error
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise InputError(
      f"{path} holds no decisions ({error}); wanted {{clip: {{keep: true or false, reason: text}}}}"
    ) from error
  return found


def read_auto(names: Iterable[str]) -> set[str]:
  """Returns the flags whose clips are dropped without asking. Raises: InputError: a flag is unknown."""
  names = set(names)
  if unknown := sorted(names - set(FLAGS) - {ALL}):
    raise InputError(f"--auto={unknown[0]}: choose from {', '.join([ALL, *FLAGS])}")
  return set(FLAGS) if ALL in names else names


def decide(clip: ClipRecord, decisions: Mapping[str, Mapping], auto: set[str]) -> ClipRecord:
  """Sets whether a clip is kept, the reason if not, and who decided.

  A clip with a fault is always rejected; a reviewer's decision overrides --auto.
  """
  if clip.fault:
    return replace(clip, kept=False, decided_by="examination")
  if decision := decisions.get(clip.name):
    reason = "" if decision["keep"] else decision.get("reason") or "dropped in review"
    return replace(clip, kept=decision["keep"], reason=reason, decided_by="review")
  if dropped := sorted(auto & set(clip.flags)):
    return replace(clip, kept=False, reason="; ".join(FLAGS[flag] for flag in dropped), decided_by="--auto")
  return replace(clip, kept=True, reason="", decided_by="default")


def rows(clips: Iterable[ClipRecord], assigned: Mapping[str, Sequence[str]]) -> list[dict]:
  """Returns the rows of a data set's manifest, sorted by name.

  Times are seconds of the recording, so that the manifest can be used as a list for --input.

  Args: assigned: split -> names of its clips.
  """
  split_of = {name: split for split, names in assigned.items() for name in names}
  return [_row(clip, split_of) for clip in sorted(clips, key=lambda clip: clip.name)]


def _row(clip, split_of):
  facts = dict(clip.facts)
  first = facts.pop("first", 0.0)
  start = clip.start
  if clip.path:
    # A segment's clock may start before its first picture, with what an encoder puts before the sound.
    start = round(max(clip.begin - (first if clip.segment else 0.0), 0.0), 6)
  end = None if clip.length is None else round(start + clip.length, 6)
  where = "url" if clip.origin.startswith(("http://", "https://")) else "path"
  times = {where: clip.origin, "start": start, "end": end}
  return _common(clip) | times | {"split": split_of.get(clip.name) if clip.kept else None} | facts


def draft_rows(clips: Iterable[ClipRecord]) -> list[dict]:
  """Returns the rows of the manifest beside review.html, which is written before clips are assigned to splits."""
  more = lambda clip: {"path": clip.origin, "start": clip.start, "length": clip.length}
  return [_common(clip) | more(clip) | ({"facts": dict(clip.facts)} if clip.path else {}) for clip in clips]


def _common(clip):
  row = {name: getattr(clip, name) for name in ("name", "source", "episode", "fault", "reason", "crop")}
  row |= {"flags": list(clip.flags), "kept": clip.kept, "decided_by": clip.decided_by}
  row |= {"recording": clip.take} if clip.path else {}  # a recording that could not be downloaded gave no clip
  return row if clip.sync is None else row | {"sync": clip.sync}


def write(path: str | os.PathLike, rows: Iterable[Mapping]) -> None:
  """Writes one JSON object a line; whole or not at all."""
  part = Path(f"{path}.part")
  part.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows), encoding="utf-8")
  os.replace(part, path)


def read(path: str | os.PathLike) -> list[dict]:
  """Reads a manifest. Raises: InputError: a line that is no JSON object."""
  rows = []
  for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
    try:
      rows.append(json.loads(line))
    except ValueError as error:
      raise InputError(f"{path} line {number} is no JSON object; prepare the data again") from error
  return rows
