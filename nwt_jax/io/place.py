"""Whether a folder that is to be written can be, before anything is computed for it."""

import errno
import tempfile
from pathlib import Path

from nwt_jax.errors import InputError

MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE)  # faults of no one's input


def check_folder(folder: str | Path, flag: str) -> None:
  """Tries to write where the folder is, or is to be; leaves nothing behind.

  Args: flag: the option that named it.
  Raises: InputError: it is a file, lies in one, or may not be written. OSError: the disk is full, or fails.
  """
  folder = Path(folder)
  try:
    there = next(at for at in (folder, *folder.absolute().parents) if at.exists() or at.is_symlink())
    if not there.is_dir():
      what = "is a file" if there == folder else f"lies in {there}, which is a file"
      raise InputError(f"--{flag}={folder} {what}; give a folder")
    with tempfile.TemporaryFile(dir=there):
      pass
  except OSError as error:
    if error.errno in MACHINE:
      raise
    raise InputError(f"--{flag}={folder} cannot be written ({error.strerror}); give a folder of yours") from error
