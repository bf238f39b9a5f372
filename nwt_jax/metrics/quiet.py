"""Hides the information lines of a C++ library that has no switch for them."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def without_info() -> Iterator[None]:
  """Hides lines of stderr that begin with "INFO:" inside the block; all others appear when it ends."""
  sys.stderr.flush()
  kept = os.dup(2)
  with tempfile.TemporaryFile() as log:
    os.dup2(log.fileno(), 2)
    try:
      yield
    finally:
      os.dup2(kept, 2)
      os.close(kept)
      log.seek(0)
      for line in log:
        if not line.startswith(b"INFO:"):
          os.write(2, line)
