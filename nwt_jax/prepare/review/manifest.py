"""What was decided about every clip: manifest.jsonl, and the decisions that a reviewer makes (appendix D.5)."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from nwt_jax.data.names import plain
from nwt_jax.errors import InputError
from nwt_jax.prepare.examine.clip import FLAGS

NAME = "manifest.jsonl"
ALL = "all"
BETWEEN_BLOCKS = "--deal"  # who decided that a clip between blocks is in no split


def read_decisions(path) -> dict[str, dict]:
  """Reads what review.html saved.

  Args: path: JSON, {clip: {"keep": true or false, "reason": text}}. Raises: InputError: another form.
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
  """The flags whose clips are dropped without asking. Raises: InputError: an unknown one."""
  names = set(names)
  if unknown := sorted(names - set(FLAGS) - {ALL}):
    raise InputError(f"--auto={unknown[0]}: choose from {', '.join([ALL, *FLAGS])}")
  return set(FLAGS) if ALL in names else names


def decide(row: Mapping, decisions: Mapping[str, Mapping], auto: set[str]) -> dict:
  """Whether a clip is kept, why not, and who said so.

  A fault rejects whatever anybody says; a reviewer's decision comes before --auto. Returns: kept, reason, decided_by.
  """
  if row["fault"]:
    return {"kept": False, "reason": row["reason"], "decided_by": "examination"}
  if decision := decisions.get(row["name"]):
    reason = "" if decision["keep"] else decision.get("reason") or "dropped in review"
    return {"kept": decision["keep"], "reason": reason, "decided_by": "review"}
  if dropped := sorted(auto & set(row["flags"])):
    return {"kept": False, "reason": "; ".join(FLAGS[flag] for flag in dropped), "decided_by": "--auto"}
  return {"kept": True, "reason": "", "decided_by": "default"}


def write(path, rows: Iterable[Mapping]) -> None:
  """Writes one JSON object a line; whole or not at all."""
  part = Path(f"{path}.part")
  part.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows), encoding="utf-8")
  os.replace(part, path)


def read(path) -> list[dict]:
  """Reads a manifest. Raises: InputError: a line that is no JSON object."""
  rows = []
  for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
    try:
      rows.append(json.loads(line))
    except ValueError as error:
      raise InputError(f"{path} line {number} is no JSON object; prepare the data again") from error
  return rows
