"""Released weights: one safetensors file and one JSON card for each model family, no pickle."""

import hashlib
import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from nwt_jax.errors import CheckpointError, InputError
from nwt_jax.io.disk import writing

FAMILIES = ("dvae", "far", "mar")
SHIPPED = Path(__file__).resolve().parent.parent / "released" / "talker"
_MAX_HEADER = 64 << 20  # bytes; a larger header is damage or an attack


def _flatten(tree: dict, prefix: str = "") -> dict[str, np.ndarray]:
  flat = {}
  for name, value in tree.items():
    flat.update(_flatten(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: np.asarray(value)})
  return flat


def _unflatten(flat: dict[str, np.ndarray]) -> dict:
  tree: dict[str, Any] = {}
  for path, value in flat.items():
    *parents, name = path.split("/")
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[name] = value
  return tree


def file_sha256(path: Path) -> str:
  """SHA-256 of a file, in hexadecimal."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def save_release(
  directory: str | Path, family: str, params: dict, card: dict, dtype: str = "float32", dvae: str | Path | None = None
) -> None:
  """Writes DIR/{family}.safetensors and DIR/{family}.json, each atomically. No card names a folder of this machine.

  Args: params: the variables, nested dicts of arrays; the card counts those in "params". card: JSON-able facts about
    the model; `family` and `sha256` are added. dtype: storage type of floating-point arrays. dvae: for a prior: the
    release whose dVAE it was trained on; copied along.
  """
  directory = Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  flat = {
    name: np.ascontiguousarray(value.astype(dtype) if np.issubdtype(value.dtype, np.floating) else value)
    for name, value in sorted(_flatten(params).items())
  }
  weights = directory / f"{family}.safetensors"
  partial = weights.with_suffix(".safetensors.partial")
  with writing(partial):
    safetensors.numpy.save_file(flat, partial)
  sha256 = file_sha256(partial)
  count = sum(value.size for name, value in flat.items() if name.startswith("params/"))
  card = {**card, "family": family, "sha256": sha256, "parameters": int(count)}
  if dvae is not None:
    source, target = find_release(dvae, "dvae") / "dvae.safetensors", directory / "dvae.safetensors"
    if not (target.exists() and target.samefile(source)):
      shutil.copyfile(source, target)
      os.replace(_write_card(directory, "dvae", load_card(dvae, "dvae")), directory / "dvae.json")
  text = _write_card(directory, family, card)
  shutil.copymode(text, partial)  # safetensors makes private files, open() what the umask says
  os.replace(partial, weights)
  os.replace(text, directory / f"{family}.json")


def _write_card(directory: Path, family: str, card: dict) -> Path:
  """Paths in the config of training that are absolute or lead upwards are cut to a name. Returns: a file to rename."""
  training = dict(card.get("training", {}))
  if isinstance(training.get("config"), str):
    training["config"] = json.dumps(_names(json.loads(training["config"])))
    card = {**card, "training": training}
  text = directory / f"{family}.json.partial"
  text.write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
  return text


def _names(value: Any) -> Any:
  if isinstance(value, dict):
    return {name: _names(inner) for name, inner in value.items()}
  if isinstance(value, list):
    return [_names(inner) for inner in value]
  if isinstance(value, str) and value.startswith(("/", "~", "..")):
    return Path(value).name
  return value


def find_release(directory: str | Path, family: str) -> Path:
  """The folder that holds the family's two files: DIR, or DIR/export of a training workdir.

  Raises: InputError: neither has them; says which families are there.
  """
  if family not in FAMILIES:
    raise InputError(f"model family {family!r} is unknown; choose one of {', '.join(FAMILIES)}")
  directory = Path(directory)
  for candidate in (directory, directory / "export"):
    if (candidate / f"{family}.json").is_file() and (candidate / f"{family}.safetensors").is_file():
      return candidate
  there = [f for f in FAMILIES for c in (directory, directory / "export") if (c / f"{f}.json").is_file()]
  found = f"it holds {', '.join(there)}" if there else "no release is there" if directory.is_dir() else "no such folder"
  raise CheckpointError(
    f"checkpoint {directory} has no {family} model ({found}); give the folder with {family}.safetensors"
  )


def load_card(directory: str | Path, family: str) -> dict:
  """The JSON card of a release.

  Raises: InputError: it is missing, damaged or of another family, or of a prior beside another dVAE than its own."""
  path = find_release(directory, family) / f"{family}.json"
  try:
    card = json.loads(path.read_text())
  except (ValueError, OSError) as error:
    raise CheckpointError(f"model card {path} cannot be read ({error}); export or download the model again") from error
  if card.get("family") != family:
    raise CheckpointError(
      f"model card {path} is of family {card.get('family')!r}, wanted {family!r}; give the right folder"
    )
  if family != "dvae" and card.get("dvae_sha256") != load_card(path.parent, "dvae")["sha256"]:
    raise CheckpointError(
      f"the {family} in {path.parent} was trained on another dVAE than the one beside it; use its own dVAE"
    )
  return card


def load_release(directory: str | Path, family: str) -> tuple[dict, dict]:
  """Reads a release.

  Returns: parameters as a nested dict of float32 arrays, and the card.
  Raises: InputError: files missing, of another family, damaged (SHA-256), or a prior beside another dVAE than its own.
  """
  card = load_card(directory, family)
  folder = find_release(directory, family)
  path = folder / f"{family}.safetensors"
  _check_header(path)
  if file_sha256(path) != card.get("sha256"):
    raise CheckpointError(f"weights {path} do not match the SHA-256 of their card; export or download the model again")
  flat = safetensors.numpy.load_file(path)
  params = {n: v.astype(np.float32) if np.issubdtype(v.dtype, np.floating) else v for n, v in flat.items()}
  return _unflatten(params), card


def _check_header(path: Path) -> None:
  size = path.stat().st_size
  with open(path, "rb") as file:
    head = file.read(8)
  if len(head) < 8 or struct.unpack("<Q", head)[0] > min(_MAX_HEADER, size - 8):
    raise CheckpointError(f"weights {path} are no safetensors file; export or download the model again")
