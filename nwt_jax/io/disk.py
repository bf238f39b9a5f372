"""Whether a folder's disk takes files: asked before a failure is blamed on somebody's data."""

import os
import tempfile

from nwt_jax.errors import MachineError

ROOM = 1 << 20  # bytes


def check_room(folder: str | os.PathLike | None = None) -> None:
  """Writes a mebibyte, which is gone afterwards.

  Args: folder: where; None: that of temporary files.
  Raises: MachineError: it cannot be written; names folder and reason.
  """
  folder = tempfile.gettempdir() if folder is None else folder
  try:
    with tempfile.TemporaryFile(dir=folder) as file:
      file.write(bytes(ROOM))
      file.flush()
      os.fsync(file.fileno())
  except OSError as error:
    raise MachineError(f"{folder} takes no more files: {error.strerror}; make room there, then try again") from error
