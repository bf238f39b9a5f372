"""A style's variates set by hand, as text: "3=+2.0, 5=-1", or a list of all of them (paper 3.5)."""

import re

from nwt_jax.errors import InputError


def parse(text: str, size: int) -> tuple[list[int], list[float]]:
  """Reads which variates get which values.

  Args: text: "3=+2.0" or "3=2, 5=-1" sets single variates, counted from 0; a list of numbers sets all of them. size:
    number of variates of a style.
  Returns: the numbers of the variates, and their values.
  Raises: InputError: the text has another form, names a variate that does not exist, or lists too many or too few."""
  items = [item for item in re.split(r"[,\s]+", text.strip()) if item]
  try:
    pairs = [item.split("=") for item in items]
    if items and all(len(pair) == 1 for pair in pairs):
      variates, values = list(range(len(items))), [float(item) for item in items]
    else:
      variates, values = [int(variate) for variate, _ in pairs], [float(value) for _, value in pairs]
  except ValueError:
    variates, values = [], []
  if not values or not all(-1e3 < value < 1e3 for value in values):
    raise InputError(f'style {text!r} is not understood; write variates as "3=+2.0, 5=-1" or a list of {size} numbers')
  if "=" not in text and len(values) != size:
    raise InputError(f'style has {len(values)} numbers, this model wants {size}; to set single variates write "3=+2.0"')
  if not all(0 <= variate < size for variate in variates):
    raise InputError(f"style {text!r} names a variate that is not there; this model has 0 to {size - 1}")
  return variates, values
