"""Explains a failure in one line where values of the config do not fit together; a bug keeps its traceback."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import jax

from nwt_jax.cli import fault
from nwt_jax.data import dataset
from nwt_jax.data.clips import PREPARE
from nwt_jax.data.mnist import SIZE
from nwt_jax.errors import ConfigError, Stopped
from nwt_jax.train.runtime.workdir import flatten
from nwt_jax.train.stages import abstract

MOST_FIELDS, MOST_LETTERS = 4, 80  # fields that are named, and letters of a value


@contextlib.contextmanager
def explain_mismatch(config: Any, default: Any) -> Iterator[None]:
  """Turns an error inside into an InputError where the config's values cause it.

  Args: config: the run's. default: the same config file without the values that were set on the command line.
  """
  given = config.copy_and_resolve_references()  # stages add to a config what they learn from the data
  try:
    yield
  except Stopped:
    raise
  except Exception as error:
    line = explain(given, default) if fault(error) is None else None
    if line is None:
      raise
    raise ConfigError(line) from error


def explain(config: Any, default: Any) -> str | None:
  """Returns a line that names the values, changed from `default`, that do not fit; None where no value is the cause.

  The update is built again without arrays, with the config, with `default`, and with each changed value set back.
  """
  size = frame_size(config)
  reason = failure(config, size)
  if reason is None or failure(default, size) is not None:
    return None
  now, before = flatten(_plain(config)), flatten(_plain(default))
  changed = [field for field in now if now[field] != before.get(field)]
  alone = [field for field in changed if field in before and failure(_set_back(config, default, field), size) is None]
  named = alone or changed
  parts = (
    f"--config.{name}={_text(now[name])} (its file has {_text(before.get(name))})" for name in named[:MOST_FIELDS]
  )
  return f"the config does not fit together: {', '.join(parts)}: {reason}"


def frame_size(config: Any) -> tuple[int, int, int]:
  """Returns height, width and channels of the pictures that stage 1 trains on; for priors the size does not matter."""
  if config.family != "dvae":
    return SIZE, SIZE, 1
  metadata = dataset.read_metadata(config.data.path, "clips", PREPARE)
  return metadata["height"], metadata["width"], 3


def failure(config: Any, size: tuple[int, int, int]) -> str | None:
  """Returns in one line what an update of this config raises when it is built from shapes alone, or None."""
  try:
    state, step = abstract.update(config, *size)
    jax.eval_shape(step, state, abstract.batch(config, config.data.batch_size, *size))
  except Exception as error:
    lines = [" ".join(line.split()) for line in str(error).splitlines()] or [""]
    return f"{next(filter(None, lines), type(error).__name__)[:200]}"
  return None


def _text(value: Any) -> str:
  """Returns a value as it is written on the command line; long ones are cut."""
  text = str(value).replace("[", "(").replace("]", ")").replace(" ", "")
  return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}..."


def _plain(config: Any) -> dict:
  return json.loads(config.to_json_best_effort())


def _set_back(config: Any, default: Any, field: str) -> Any:
  copy = config.copy_and_resolve_references()
  value = default
  for name in field.split("."):
    value = value[name]
  with copy.ignore_type(), copy.unlocked():
    copy.update_from_flattened_dict({field: value})
  return copy
