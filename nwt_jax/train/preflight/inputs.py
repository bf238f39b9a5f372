"""Checks a run's data and folders against its config, by headers and cards alone, before jax is loaded."""

from pathlib import Path
from typing import Any

from nwt_jax import aliases
from nwt_jax.data import dataset, sizes
from nwt_jax.data.clips import PREPARE
from nwt_jax.data.mnist import check_files
from nwt_jax.data.tokens import TOKENIZE
from nwt_jax.errors import ConfigError, InputError
from nwt_jax.io.disk import check_folder
from nwt_jax.io.release import load_card
from nwt_jax.names import plain
from nwt_jax.train.preflight import values
from nwt_jax.train.preflight.lineage import find_clips, find_dvae

_CLIPS = ("clips", "make it with python -m nwt_jax.prepare --input='clips/*.mp4' --output=DIR")
_TOKENS = ("tokens", "make it with python -m nwt_jax.main --config=configs/tokenize.py ...")
NEEDS = {  # family -> the data that it reads, and where they come from
  "dvae": _CLIPS,
  "tokenize": _CLIPS,
  "far": _TOKENS,
  "mar": _TOKENS,
  "digits": ("MNIST's four idx files", "download it"),
}


def check(config: Any, workdir: Path) -> None:
  """Checks all that can be checked before jax is loaded.

  Raises: InputError: a value that no run can use; data or weights that are missing, or have another kind or size.
  """
  if config.family not in NEEDS:
    raise ConfigError(f"config family {config.family!r} is unknown; choose one of {', '.join(NEEDS)}")
  if former := aliases.former_field(config):
    raise ConfigError(f"the config has a field {former}, whose name is {aliases.FIELDS[former]} now; write that")
  if not config.data.path:
    what, source = NEEDS[config.family]
    raise ConfigError(f"no data: --config.data.path is empty, wanted a folder of {what}; {source}")
  if config.family == "tokenize" and not config.dvae:
    raise ConfigError(
      "no dVAE: --config.dvae is empty, wanted the workdir of a stage-1 run; train configs/dvae_lwt.py first"
    )
  values.check(config)
  check_folder(workdir, "workdir")
  path = config.data.path
  if config.family == "digits":
    check_files(path)
  elif config.family in ("far", "mar"):
    metadata = dataset.read_metadata(path, "tokens", TOKENIZE)
    check_grid(config, metadata)
    find_dvae(config, metadata)
    if config.data.clips:
      find_clips(config, metadata)
  else:
    metadata = dataset.read_metadata(path, "clips", PREPARE)
    if config.family == "tokenize":
      check_episodes(config, metadata)
      return
    check_frames(config, metadata)
  if config.train.init:
    load_card(config.train.init, "dvae" if config.family == "digits" else config.family)


def check_frames(config: Any, metadata: dict) -> None:
  """Raises: InputError: frames that stage 1 cannot halve as often as it must."""
  pixels, (height, width) = config.model.patch * 2 ** len(config.model.stages), (metadata["height"], metadata["width"])
  if height % pixels or width % pixels:
    raise ConfigError(
      f"frames of {height} x {width} do not divide by {pixels}, as this config's must; "
      f"{sizes.hint_for_frames(height, width)}"
    )


def check_episodes(config: Any, metadata: dict) -> None:
  """Raises: InputError: clips of other episodes than those that the dVAE knows."""
  try:
    card = load_card(config.dvae, "dvae")
  except InputError as error:
    raise ConfigError(f"--config.dvae={config.dvae}: {error}") from error
  if list(map(plain, metadata["episodes"])) != list(map(plain, card.get("episodes", ()))):
    raise ConfigError(
      f"the dVAE in {config.dvae} knows {len(card.get('episodes', ()))} episodes, the data in {config.data.path} has "
      f"{len(metadata['episodes'])} others; train stage 1 on this data"
    )


def check_grid(config: Any, metadata: dict) -> None:
  """Raises: InputError: tokens of another grid, or of other heads or codes, than the prior takes."""
  grid = (metadata["height"], metadata["width"], metadata["heads"], metadata["codes"])
  model = config.model
  expected = (*tuple(model.grid), model.num_heads, model.num_codes)
  if grid != expected:
    size = metadata["video"]["height"], metadata["video"]["width"]
    hint = sizes.hint_for_tokens(config.family, *size, grid[:2], *grid[2:])
    raise ConfigError(
      f"{config.data.path} has {grid[0]} x {grid[1]} Memcodes of {grid[2]} heads x {grid[3]} codes, the config's model "
      f"takes {' x '.join(map(str, model.grid))} of {model.num_heads} x {model.num_codes}; {hint}"
    )
