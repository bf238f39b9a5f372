"""The one place that starts ffmpeg: what it may open and spend, and whether a failure is the machine's."""

import errno
import functools
import os
import re
import resource
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import imageio_ffmpeg

from nwt_jax.errors import InputError, MachineError, MediaError

# Containers of sound and video only: a playlist or script that ffmpeg would follow to other files is not among them.
FORMATS = (
  "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,h264,hevc,m4v,asf,flv,ogg,wav,w64,flac,mp3,aac,aiff,"
  "caf,au,yuv4mpegpipe,mxf,gif"
)
MAX_PIXELS = 7680 * 4320  # of one picture: 8K
SAFE_INPUT = ["-protocol_whitelist", "file,pipe", "-format_whitelist", FORMATS, "-max_pixels", str(MAX_PIXELS)]
QUIET = ["-hide_banner", "-nostdin", "-loglevel", "level+error"]
OLDEST = (5, 1)  # the first version with -fps_mode
# What one call may take: a file made to hurt must not stop a preparation of thousands.
MAX_SECONDS = 1800  # on the wall
MAX_BYTES = 8 << 30  # of output: some 25 minutes of 224 x 256 at 30 frames a second
MAX_MEMORY = 16 << 30  # of addresses, many of which are never touched
# From version 6.1 on ffmpeg's exit status is the error number, counted down from 256.
_MACHINE = {256 - number: number for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE)}
_NO_MEMORY, _TOO_LARGE = 256 - errno.ENOMEM, 256 - errno.EFBIG
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE}  # what a file can do to a decoder
_threads: list[str] = []  # options that say how many threads to use; ffmpeg decides without them


def one_thread() -> None:
  """From now on ffmpeg takes one thread: for processes that share a machine's cores."""
  _threads[:] = ["-threads", "1", "-filter_threads", "1", "-filter_complex_threads", "1"]


def source(path: str | os.PathLike) -> list[str]:
  """Arguments that name an input file to ffmpeg so that the name can only mean a file on this disk.

  Args: path: any path. Returns: list of arguments, ending with the -i pair.
  """
  return [*_threads, *SAFE_INPUT, "-i", f"file:{path}"]


def check_file(path: str | os.PathLike, kind: str) -> Path:
  """Refuses what is not a non-empty file.

  Args: path: what the user named. kind: the word for what was wanted ("sound", "video").
  Returns: the path as a Path.
  Raises: InputError: missing, a folder, or empty. MachineError: it is there and cannot be opened.
  """
  path = Path(path)
  if not path.exists():
    raise MediaError(f"{path} does not exist; give a {kind} file")
  if not path.is_file():
    raise MediaError(f"{path} is not a file; give a {kind} file")
  try:
    with open(path, "rb") as file:
      empty = not file.read(1)
  except OSError as error:
    raise MachineError(f"{path} cannot be opened ({error.strerror}); make it readable, or leave it out") from error
  if empty:
    raise MediaError(f"{path} is empty (0 bytes); give a {kind} file")
  return path


def executable() -> str:
  """The ffmpeg to run. Returns: its path. Raises: MachineError: there is none on this machine, or one too old."""
  try:
    path = imageio_ffmpeg.get_ffmpeg_exe()
  except RuntimeError as error:
    raise MachineError("no ffmpeg was found; reinstall imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE to one") from error
  found = version(path)
  number = re.match(r"n?(\d+)\.(\d+)", found)  # builds from between versions have other names, and are taken as new
  if number and tuple(map(int, number.groups())) < OLDEST:
    raise MachineError(f"ffmpeg {found} ({path}) is too old: {OLDEST[0]}.{OLDEST[1]} or newer is needed; {_hint()}")
  return path


def _hint():
  return "unset IMAGEIO_FFMPEG_EXE" if os.environ.get("IMAGEIO_FFMPEG_EXE") else "pip install -U imageio-ffmpeg"


@functools.cache
def version(path: str) -> str:
  """Returns the version that an ffmpeg reports, such as 7.0.2. Raises: MachineError: it does not start."""
  try:
    done = subprocess.run([path, "-version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
  except (OSError, subprocess.TimeoutExpired) as error:
    why = getattr(error, "strerror", None) or "no answer"
    raise MachineError(f"ffmpeg ({path}) does not start ({why}); {_hint()}") from error
  named = re.match(r"ffmpeg version (\S+)", done.stdout.decode("utf-8", "replace"))
  return named[1] if named else "of unknown version"


def run(
  arguments: Sequence, log: Any, keep_output: bool = True, seconds: float | None = None, take: Callable | None = None
) -> tuple[int, bytes]:
  """Runs ffmpeg, within limits of time, memory and output; it and whatever it started end together.

  Args: arguments: what follows the program's name. log: open binary file for its standard error. keep_output: collect
    its standard output. seconds: on the wall; None: MAX_SECONDS. take: called with each piece of the output, which is
    not collected then, however much it is.
  Returns: exit status (negative: the decoder crashed), standard output.
  Raises: InputError: the file takes more than one of our limits. MachineError: ffmpeg could not work: a full disk, too
    little memory, a kill from outside.
  """
  output = subprocess.PIPE if keep_output else subprocess.DEVNULL
  try:
    process = subprocess.Popen(  # its own session, so that everything it starts can be ended with it
      [executable(), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=output, stderr=log, start_new_session=True
    )
  except OSError as error:
    raise MachineError(f"ffmpeg does not start ({error.strerror}); see python -m nwt_jax.doctor") from error
  late, full = threading.Event(), False

  def end(*reason):
    for event in reason:
      event.set()
    try:
      os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
      pass

  seconds = MAX_SECONDS if seconds is None else seconds
  clock = threading.Timer(seconds, end, [late])
  clock.daemon = True
  clock.start()
  parts, size = [], 0
  try:
    memory, file_size = (_lower(process.pid, kind, most) for kind, most in _limits())
    if process.stdout is not None:
      while part := process.stdout.read(1 << 20):
        if take is not None:
          take(part)
          continue
        parts.append(part)
        size += len(part)
        if full := size > MAX_BYTES:
          break
    if not full:
      process.wait()
  finally:
    clock.cancel()
    if process.poll() is None:
      end()
      process.wait()
    if process.stdout is not None:
      process.stdout.close()
  if full:
    raise MediaError(f"it unfolds to more than {MAX_BYTES >> 30} GB; cut it into clips")
  if late.is_set():
    raise MediaError(f"ffmpeg was not done with it after {seconds:g} s")
  _check_status(process.returncode, memory, file_size)
  return process.returncode, b"".join(parts)


def _limits():
  """The kinds of limit that hold one call, and what we allow of each."""
  return (("RLIMIT_AS", MAX_MEMORY), ("RLIMIT_FSIZE", MAX_BYTES))


def _lower(pid, kind, most):
  """Limits a process to `most`, or to what it may have already where that is less. Returns: the limit that holds."""
  if not hasattr(resource, "prlimit"):  # Linux has it
    return most
  kind = getattr(resource, kind)
  try:
    allowed = [most, *(limit for limit in resource.prlimit(pid, kind) if limit != resource.RLIM_INFINITY)]
    resource.prlimit(pid, kind, (min(allowed), min(allowed)))
  except (ProcessLookupError, PermissionError):  # it is done already
    return most
  return min(allowed)


def _check_status(status, memory, file_size):
  """Raises: InputError: a limit of ours. MachineError: what the file cannot have caused."""
  if status in _MACHINE:
    reason = os.strerror(_MACHINE[status])
    raise MachineError(f"ffmpeg could not go on: {reason}; make room in {tempfile.gettempdir()}, or set TMPDIR")
  if status == -signal.SIGXFSZ or status == _TOO_LARGE:
    if file_size >= MAX_BYTES:
      raise MediaError(f"it unfolds to more than {MAX_BYTES >> 30} GB; cut it into clips")
    raise MachineError(f"files may have {file_size >> 20} MB here (ulimit -f), too little for ffmpeg; raise that limit")
  starved = status == _NO_MEMORY or (status < 0 and -status in _CRASHES)
  if starved and memory < MAX_MEMORY:
    raise MachineError(f"programs may use {memory >> 20} MB here (ulimit -v), too little for ffmpeg; raise that limit")
  if status < 0 and -status not in _CRASHES:
    name = signal.Signals(-status).name
    raise MachineError(f"ffmpeg was ended by {name} (for lack of memory?); free some, or use fewer --workers")


def decode(
  path: str | os.PathLike,
  arguments: Sequence,
  kind: str,
  start: float = 0.0,
  length: float | None = None,
  before: Sequence = (),
  take: Callable | None = None,
) -> bytes:
  """Runs ffmpeg over one file and collects what it writes to its standard output.

  Args: path: input file. arguments: what follows the input, without the output. kind: the word for what is wanted.
    start, length: the part to read, seconds; None: to the end. before: options of the input. take: see run.
  Returns: bytes.
  Raises: InputError: ffmpeg refuses the file. MachineError: see run.
  """
  with tempfile.TemporaryFile() as log:
    try:
      status, output = run([*QUIET, *before, *part(start, length), *source(path), *arguments, "pipe:1"], log, take=take)
    except InputError as error:
      raise MediaError(f"{path} cannot be read as {kind}: {error}") from None
    if status:
      raise MediaError(f"{path} cannot be read as {kind}: {first_error(log, path)}; give a file that plays elsewhere")
  return output


def part(start: float, length: float | None) -> list[str]:
  """Arguments, before an input, to read a part of it. Args: start, length: seconds; length None: to the end."""
  return [*(["-ss", f"{start:.6f}"] if start else []), *([] if length is None else ["-t", f"{length:.6f}"])]


# Components of ffmpeg that write: what they complain about is our output, not the file.
_WRITERS = re.compile(r"\[(rawvideo|framecrc|image2|s16le|f32le|null|segment|matroska enc|out#|vost#|aost#)")


def errors(log: BinaryIO) -> list[str]:
  """Returns the complaints of a file's readers, line by line. Args: log: open binary file, written with -loglevel
  level+error or more."""
  log.seek(0)
  lines = log.read().decode("utf-8", "replace").splitlines()
  return [line for line in lines if re.search(r"\[(error|fatal|panic)\]", line) and not _WRITERS.match(line)]


def first_error(log: BinaryIO, path: str | os.PathLike | None = None) -> str:
  """Returns the error in an ffmpeg log: the first one, of which later ones are consequences.

  Args: log: open binary file, written with -loglevel level+error or more. path: input name to strip. Returns: str.
  """
  found = errors(log)
  if not found:
    log.seek(0)
    found = [line for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()][:1]
  return message(found[0], path) if found else "ffmpeg gave no reason"


def message(line: str, path: str | os.PathLike | None = None) -> str:
  """A line of an ffmpeg log without the names of components. Args: path: input name to strip."""
  if "moov atom not found" in line:
    return "the file is cut short (its index is missing)"
  line = re.sub(r"\[[^\]]*\]\s*", "", line).strip().removeprefix("Error opening input: ")
  return line.replace(f"file:{path}: ", "").replace(f"file:{path}", "it").rstrip(".")
