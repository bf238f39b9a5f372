"""Errors that programs answer in a line, apart from types.py so that data and io need no jax."""


class InputError(ValueError):
  """Bad input from a user. Its one line says what came, what was wanted, and what to do."""


class MediaError(InputError):
  """A sound or a video that cannot be used: missing, damaged, empty, or of another kind than was wanted."""


class CheckpointError(InputError):
  """Weights or a training checkpoint that cannot be used: missing, damaged, or of another model."""


class ConfigError(InputError):
  """A config that no run can use: a value, a combination of values, or one that does not fit its data."""


class Stopped(Exception):
  """A signal asked training to end, and its state is saved; the same command goes on."""


class MachineError(Exception):
  """A fault of this machine (a full disk, memory, a killed process): no fact about the user's data. One line, exit
  code 2."""
