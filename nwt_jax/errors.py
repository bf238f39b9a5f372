"""Errors that programs answer in a line, apart from types.py so that data and io need no jax."""


class InputError(ValueError):
  """Bad input from a user. Its one line says what came, what was wanted, and what to do."""


class Stopped(Exception):
  """A signal asked training to end, and its state is saved; the same command goes on."""
