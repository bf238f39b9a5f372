"""The error for bad input, apart from types.py so that data and io need no jax."""


class InputError(ValueError):
  """Bad input from a user. Its one line says what came, what was wanted, and what to do."""
