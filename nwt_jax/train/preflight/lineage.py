"""Finds the sources of tokens: the dVAE, which is released with the prior, and the clips, for pictures."""

from pathlib import Path
from typing import Any

from nwt_jax.data import origins
from nwt_jax.data.clips import Clips
from nwt_jax.errors import InputError
from nwt_jax.io.release import load_card


def find_dvae(config: Any, metadata: dict) -> Path:
  """Returns the release that the tokens were made with: `config.dvae`, else the one that the tokens' metadata names.

  The second is also found where tokens and release were moved together.

  Raises: InputError: the release is missing, or the tokens were made with another one."""
  if not config.dvae:
    same = lambda folder: _card_of(folder).get("sha256") == metadata["dvae_sha256"]
    if found := origins.find(metadata.get("dvae", ""), config.data.path, same):
      return found
    raise InputError(
      f"the dVAE of the tokens in {config.data.path} is not where they tell ({metadata.get('dvae') or 'nowhere'}), or "
      "was trained on since; give its folder with --config.dvae=DIR, or run tokenize again"
    )
  try:
    card = load_card(config.dvae, "dvae")
  except InputError as error:
    raise InputError(f"--config.dvae={config.dvae}: {error}") from error
  if card.get("sha256") != metadata["dvae_sha256"]:
    raise InputError(f"tokens in {config.data.path} come from another dVAE than {config.dvae}; run tokenize again")
  return Path(config.dvae)


def _card_of(folder: Path) -> dict:
  try:
    return load_card(folder, "dvae")
  except (InputError, OSError):
    return {}


def find_clips(config: Any, metadata: dict) -> Clips | None:
  """Returns the held-out clips that the tokens were made from, for pictures.

  They are those in `config.data.clips`, else those that the tokens' metadata names.

  Returns: None where the clips are missing; a run needs none.
  Raises: InputError: the tokens were made from other clips than `config.data.clips`."""

  def same(folder: Path) -> bool:
    try:
      return Clips(folder, "train").metadata["fingerprint"] == metadata.get("clips_fingerprint")
    except (InputError, OSError):
      return False

  if config.data.clips:
    try:
      found = Clips.held_out(config.data.clips)
    except InputError as error:
      raise InputError(f"--config.data.clips={config.data.clips}: {error}") from error
    if found.metadata["fingerprint"] != metadata.get("clips_fingerprint"):
      raise InputError(
        f"--config.data.clips={config.data.clips} are not the clips that the tokens in {config.data.path} were made "
        "from; give those, or nothing"
      )
    return found
  if found := origins.find(metadata.get("clips", ""), config.data.path, same):
    return Clips.held_out(found)
  return None


def no_clips(config: Any, metadata: dict) -> str:
  """Returns the line that says why a run has no pictures: its clips are not found."""
  return (
    f"no pictures: the clips of the tokens in {config.data.path} are not where they tell "
    f"({metadata.get('clips') or 'nowhere'}); give their folder with --config.data.clips=DIR"
  )
