"""Checks whether a folder can be written: before anything is computed for it, and before somebody's data are blamed."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nwt_jax.errors import InputError, MachineError

# What the folder that was given explains; all else is a fault of the machine
USER = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL)
FULL = 1 << 20  # bytes free under which a disk counts as full


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
  """Finds the reason where a library does not say why it could not write `path`: the disk may be full.

  Raises: OSError: with the number of a full disk. What else is raised inside."""
  try:
    yield
  except Exception as error:
    there = next(at for at in Path(path).absolute().parents if at.exists())
    if getattr(error, "errno", None) is None and shutil.disk_usage(there).free < FULL:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
    raise


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
    if error.errno not in USER:
      raise
    raise InputError(f"--{flag}={folder} cannot be written ({error.strerror}); give a folder of yours") from error


def check_space(folder: str | os.PathLike | None = None) -> None:
  """Writes a mebibyte, which is gone afterwards.

  Args: folder: where; None: that of temporary files.
  Raises: MachineError: it cannot be written; names folder and reason.
  """
  folder = tempfile.gettempdir() if folder is None else folder
  try:
    with tempfile.TemporaryFile(dir=folder) as file:
      file.write(bytes(FULL))
      file.flush()
      os.fsync(file.fileno())
  except OSError as error:
    raise MachineError(f"{folder} takes no more files: {error.strerror}; make room there, then try again") from error
