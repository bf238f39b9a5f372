"""Compiled programs are kept on disk between starts, in a folder that is safe to take them from.

`keep()` comes before jax is imported; what runs in this process and what it starts then finds the folder by itself.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import shutil
import sys
import warnings
from pathlib import Path

FOLDER, SECONDS = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
WORTH = "0.2"  # seconds of compilation from which a program is kept; jax's own 1 leaves out half of a sample's
LIMIT = 1 << 30  # bytes of all that is kept; what nobody used for longest goes first
ROOM = 1 << 30  # bytes that must be free: on a full disk jax leaves torn files, which it never replaces
# Lines of /proc/cpuinfo by which LLVM chooses instructions
CPU = ("vendor_id", "cpu family", "model", "model name", "flags", "CPU implementer", "CPU part", "Features")


def keep() -> None:
  """Has jax keep what it compiles, unless the user said where (FOLDER). Where it cannot be kept, nothing is said."""
  if FOLDER in os.environ:
    return
  try:
    folder = choose()
  except OSError:
    return
  os.environ[FOLDER] = str(folder)
  os.environ.setdefault(SECONDS, WORTH)
  # Another program may have cleared it away, or the disk filled up: what cannot be read is compiled.
  warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache", UserWarning)


def choose() -> Path:
  """Makes the folder for this user, this jax and this CPU, and clears away what is too much beside it.

  Raises: OSError: there is no such folder to be had; it says why.
  """
  folder = home() / "nwt_jax" / name()
  folder.mkdir(mode=0o700, parents=True, exist_ok=True)
  facts = folder.stat()
  if facts.st_uid != os.getuid() or facts.st_mode & 0o022:  # what lies in it is run
    raise PermissionError(f"others may write to {folder}")
  if not os.access(folder, os.W_OK | os.X_OK):
    raise PermissionError(f"{folder} cannot be written to")
  clear(folder.parent, LIMIT)
  if shutil.disk_usage(folder).free < ROOM:
    raise OSError(f"less than {ROOM >> 30} GB is free at {folder}")
  return folder


def status() -> tuple[str, str]:
  """Checks, for the doctor, whether compiled programs are kept. Returns: ok or warn, and a line."""
  hint = f"every start compiles anew; set {FOLDER} to a folder that can be written to"
  if os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "1").lower() in ("0", "false", "off", "no", "n", "f"):
    return "warn", "every start compiles anew, as JAX_ENABLE_COMPILATION_CACHE asks"
  path = os.environ.get(FOLDER)
  try:
    path = str(choose()) if path is None else path
  except OSError as error:
    return "warn", f"{error}: {hint}"
  if "://" in path:  # an object store, which jax reaches
    return "ok", path
  there = next((at for at in (Path(path), *Path(path).absolute().parents) if at.exists()), Path("/"))
  if not path or not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
    return "warn", f"{FOLDER}={path}: {hint}"
  sizes = [file.stat().st_size for file in Path(path).glob("*-cache")]
  return "ok", f"{len(sizes)} programs, {sum(sizes) / 2**20:.1f} MB in {path}"


def home() -> Path:
  """Returns the user's cache folder, for files that can be made again. Raises: OSError: this user has no home."""
  path = os.environ.get("XDG_CACHE_HOME", "")
  if os.path.isabs(path):  # others are to be ignored, says the specification
    return Path(path)
  user = os.path.expanduser("~")
  if not os.path.isabs(user) or user == "/":
    raise FileNotFoundError("this user has no home folder")
  return Path(user) / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def name() -> str:
  """The folder's name: a home may be shared by machines, and instructions of one CPU end programs on another."""
  try:
    jax, jaxlib = (importlib.metadata.version(package) for package in ("jax", "jaxlib"))
  except importlib.metadata.PackageNotFoundError as error:
    raise FileNotFoundError(f"{error.name} is not installed") from error
  cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
  facts = "\n".join([jaxlib, platform.machine(), str(cores), *cpu()])
  return f"jax-{jax}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"


def cpu() -> list[str]:
  """Returns text that identifies this kind of CPU; where the system has none, the machine's name."""
  try:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    lines = []
  found = {line for line in lines if line.partition(":")[0].strip() in CPU}
  return sorted(found) or [platform.node()]


def clear(folder: Path, limit: int) -> None:
  """Removes the files below `folder` that were not used for longest, until the rest has `limit` bytes or less.

  jax's own limit (jax_compilation_cache_max_size) is not used: it notes the times in files of their own, and a program
  that is killed between the two leaves a folder that takes nothing more.
  """
  found = []
  for parent, _, files in os.walk(folder):
    for file in files:
      with contextlib.suppress(OSError):
        facts = os.stat(os.path.join(parent, file))
        found.append((max(facts.st_atime, facts.st_mtime), facts.st_size, os.path.join(parent, file)))
  total = sum(size for _, size, _ in found)
  for _, size, path in sorted(found):
    if total <= limit:
      return
    with contextlib.suppress(OSError):
      os.unlink(path)
    total -= size
