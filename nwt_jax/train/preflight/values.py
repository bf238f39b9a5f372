"""Checks single values of a config, before jax is loaded; train/mismatch.py explains those that do not fit together."""

import math
from collections.abc import Iterator
from typing import Any

from nwt_jax.errors import ConfigError

SEEDS = ("seed",)
FROM_1 = (
  "steps", "log_every", "eval_every", "save_every", "keep", "max_skipped", "accumulate", "fsdp", "heartbeat",
  "critic_steps", "batch_size", "frames", "clips", "pictures", "chunk_frames", "pixel_power", "held_out",
)  # fmt: skip
FROM_0 = (
  "max_growth", "num_threads", "shift", "style_clips", "warmup", "half_life", "min_learning_rate", "clip",
  "num_classes", "gan_weight", "gp_weight", "class_weight", "kl_weight", "kl_rate", "pixel_weight", "pixel_fade_steps",
  "change_weighting", "style_kl_weight", "temperature",
)  # fmt: skip
ABOVE_0 = ("learning_rate", "eps", "query_init", "mel_scale", "first_frame_weight")
BELOW_1 = ("b1", "b2", "ema_decay", "class_smoothing")  # from 0
FROM_0_TO_1 = ("history_corruption", "first_frame_dropout")  # from 0 to 1
SIZES = ("model", "critics")  # their whole numbers are sizes, but for convolutions of a stage, which may be none
CODES = (2, 256)  # least and most codes a head: one byte holds a code
PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
ORDERS = ("joint", "alternate")  # how generator and critics are updated
CHOICES = {
  "sampler": ("gumbel", "argmax"),  # a field of configs/tokenize.py
  "train.precision": PRECISIONS,
  "train.update_order": ORDERS,
  "train.export_dtype": ("float32", "float16"),
}


def check(config: Any) -> None:
  """Raises: InputError: a value that no run can use; names the field, the value and what is wanted."""
  for path, value in leaves(config):
    if expected := requirement(path, value):
      raise ConfigError(f"--config.{path} has {value!r}, wanted {expected}")


def leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
  """Yields (path, value) of all fields of a config; a tuple's values come one by one under its path."""
  for name, value in config.items() if hasattr(config, "items") else ():
    at = f"{path}.{name}" if path else name
    if hasattr(value, "items"):
      yield from leaves(value, at)
    elif isinstance(value, list | tuple):
      yield from ((at, item) for item in _flat(value, zeros=name == "stages"))
    else:
      yield at, value


def _flat(value: Any, zeros: bool) -> Iterator[Any]:
  """Yields the items of nested tuples. Args: zeros: the first item of a pair may be 0 and is left out where it is."""
  for index, item in enumerate(value):
    if isinstance(item, list | tuple):
      yield from _flat(item, zeros)
    elif not (zeros and index == 0 and item == 0):
      yield item


def requirement(path: str, value: Any) -> str:
  """Returns what is wanted in place of a value that no run can use, or "" where the value is good."""
  group, name = path.split(".")[0], path.split(".")[-1]
  number = isinstance(value, int | float) and not isinstance(value, bool)
  if isinstance(value, float) and not math.isfinite(value):
    return "a finite number"
  if group in SIZES and isinstance(value, str):
    return "whole numbers, in brackets as in the config file"
  if path in CHOICES and value not in CHOICES[path]:
    return f"one of {', '.join(CHOICES[path])}"
  if not number:
    return ""
  if name == "num_codes":
    return "" if CODES[0] <= value <= CODES[1] else f"{CODES[0]} to {CODES[1]}"
  if name in SEEDS:
    return "" if 0 <= value < 2**32 else "0 to 2**32 - 1"
  if name in ABOVE_0:
    return "" if value > 0 else "more than 0"
  if name in BELOW_1:
    return "" if 0 <= value < 1 else "0 or more, and less than 1"
  if name in FROM_0_TO_1:
    return "" if 0 <= value <= 1 else "0 to 1"
  if name in FROM_1 or (group in SIZES and isinstance(value, int)):
    return "" if value >= 1 else "1 or more"
  if name in FROM_0:
    return "" if value >= 0 else "0 or more"
  return ""
