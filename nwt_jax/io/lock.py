"""One program at a time in a folder."""

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path

from nwt_jax.errors import InputError


@contextlib.contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
  """Holds the lock `path` while inside. The kernel keeps it, not the file: what a killed process held is free.

  Raises: InputError: `busy`, where another process holds it; or the file cannot be made.
  """
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "w")  # noqa: SIM115 (closed below)
  except OSError as error:
    raise InputError(f"cannot write {path.parent} ({error.strerror}); give a folder that can be written to") from error
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise InputError(busy) from error
    except OSError as error:  # file systems of object stores
      logging.warning("%s cannot be locked (%s): make sure that one program alone writes there", path, error.strerror)
    yield
