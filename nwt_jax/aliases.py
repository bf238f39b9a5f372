"""Former names of config fields and of variants: commands, workdirs and cards that have them can be read."""

import copy
from collections.abc import Sequence
from typing import Any

FIELDS = {  # former path -> present path
  "objective.own_errors": "objective.history_corruption",
  "objective.place_power": "objective.change_weighting",
  "objective.hidden_first": "objective.first_frame_dropout",
  "objective.first_frame": "objective.first_frame_weight",
  "train.fresh": "train.reinit",
}
WORDS = {"repair": "corrupt_history"}  # former word -> present word of `--config=FILE:WORD,WORD`


def rename_flags(argv: Sequence[str]) -> list[str]:
  """Returns a command line in which overrides have the present names: `--config.OLD=1` becomes `--config.NEW=1`."""
  renamed = []
  for argument in argv:
    flag, equals, value = argument.partition("=")
    dashes, prefix, path = flag.partition("config.")
    if dashes in ("-", "--") and path in FIELDS:
      flag = dashes + prefix + FIELDS[path]
    renamed.append(flag + equals + value)
  return renamed


def former_field(config: Any) -> str | None:
  """Returns the path of a field that has a former name, or None: a config file of a user's own may set one in vain."""
  return next((path for path in FIELDS if path.split(".")[1] in config.get(path.split(".")[0], ())), None)


def rename_fields(config: dict) -> dict:
  """Returns a stored config, of a workdir or a card, with the present names. A present name that is there stays."""
  renamed = copy.deepcopy(config)
  for former, present in FIELDS.items():
    group, name = former.split(".")
    fields = renamed.get(group)
    if isinstance(fields, dict) and name in fields:
      fields.setdefault(present.split(".")[1], fields.pop(name))
  return renamed
