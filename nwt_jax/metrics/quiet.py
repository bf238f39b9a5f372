"""Keeps from the terminal what a C++ library says of itself, where it has no switch for it."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def without_info() -> Iterator[None]:
  """Lines that begin with "INFO:" do not reach stderr from inside; all others do, when the block ends."""
  sys.stderr.flush()
  kept = os.dup(2)
  with tempfile.TemporaryFile() as said:
    os.dup2(said.fileno(), 2)
    try:
      yield
    finally:
      os.dup2(kept, 2)
      os.close(kept)
      said.seek(0)
      for line in said:
        if not line.startswith(b"INFO:"):
          os.write(2, line)
