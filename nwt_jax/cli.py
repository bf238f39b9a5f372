"""The shell around every program: flags in, at most three lines and exit code 2 for bad input."""

import ctypes
import difflib
import errno
import importlib.util
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from absl import flags, logging

from nwt_jax import compilation_cache, configs
from nwt_jax.errors import ConfigError, InputError, MachineError, Stopped

HELP = ("--help", "-h", "--helpshort", "-help")
REMEDIES = {  # what a machine may lack, or a user may not do there, and what helps
  errno.ENOSPC: "make room, or write elsewhere",
  errno.EDQUOT: "make room, or write elsewhere",
  errno.EFBIG: "raise `ulimit -f`, or write elsewhere",
  errno.EROFS: "write elsewhere",
  errno.EACCES: "change its permissions, or take another place",
  errno.EPERM: "change its permissions, or take another place",
  errno.EMFILE: "raise `ulimit -n`",
  errno.ENFILE: "end other programs",
  errno.EAGAIN: "raise `ulimit -u`, or take fewer --workers",
  errno.ENOMEM: "end other programs, or take fewer --workers",
  errno.EIO: "the disk or the network to it is failing: look at the system's log",
  errno.ESTALE: "the network drive went away: give the same command again",
  errno.ENOTCONN: "the network drive went away: give the same command again",
}


PASSING = (
  errno.EIO,
  errno.ESTALE,
  errno.ENOTCONN,
  errno.EAGAIN,
)  # a restart, perhaps elsewhere, may do


def run(main: Callable[[list[str]], int | None], *required: str) -> None:
  """Parses the flags, calls `main(argv)` and exits.

  Bad input (an InputError, a flag or a config that does not parse) and a fault of the machine (`fault`) end with
  at most three lines on stderr and exit code 2. Ctrl-C ends with 130, SIGTERM with 143, and so does training that
  saved its state after either. Any other exception is a bug and keeps its traceback.

  Programs import jax and the models inside `main`, so that a typo is answered at once, and what jax compiles is kept.

  Args: main: takes the arguments that are not flags, the program's name first; its return value is the exit code.
    required: names of flags that must be given.
  """
  logging.use_absl_handler()
  try:
    argv = parse(sys.argv, required)
    signal.signal(signal.SIGTERM, end)
    sys.unraisablehook = end_later
    reuse_memory()
    quieten()
    compilation_cache.keep()
    sys.exit(main(argv))
  except Stopped as stopped:
    print(f"{name()}: {stopped}", file=sys.stderr, flush=True)
    sys.exit(143)
  except KeyboardInterrupt:
    print(f"{name()}: interrupted", file=sys.stderr)
    sys.exit(130)
  except BrokenPipeError:  # the reader of our output (head, less) went away: nothing of ours is wrong
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(141)
  except Exception as error:
    line = fault(error)
    if line is None:
      raise
    fail(line, code_of(error))


def code_of(error: BaseException) -> int:
  """The exit code of a fault: 1 where a restart, perhaps on another machine, may do; 2 where somebody has to look."""
  return 1 if isinstance(error, OSError) and error.errno in PASSING else 2


def fault(error: BaseException) -> str | None:
  """Returns a line for an exception that is no bug: bad input, or a lack of the machine; None for a bug."""
  if isinstance(error, InputError | MachineError):
    return str(error)
  if isinstance(error, BrokenExecutor):
    return "a worker process was killed, mostly for memory: take fewer --workers, and give the same command again"
  if isinstance(error, MemoryError):
    return "out of memory: end other programs, or take less at once"
  if isinstance(error, OSError) and error.errno in REMEDIES:
    names = [os.fsdecode(file) for file in (error.filename, error.filename2) if isinstance(file, str | bytes)]
    return f"{': '.join([*names, os.strerror(error.errno)])}; {REMEDIES[error.errno]}"
  return None


class Ended(SystemExit):
  """A SIGTERM came."""


def end(*_: Any) -> None:
  """Ends after a SIGTERM as after Ctrl-C: worker processes and unfinished files go too. Training has its own way."""
  print(f"{name()}: stopped by SIGTERM", file=sys.stderr, flush=True)
  raise Ended(143)


def end_later(found: Any) -> None:
  """Sends a signal again whose exception Python dropped, because it came inside a callback of a library (jax has one
  in garbage collection): without this the program would go on."""
  if sys.is_finalizing() or not issubclass(found.exc_type, KeyboardInterrupt | Ended):
    sys.__unraisablehook__(found)
    return
  number = signal.SIGINT if issubclass(found.exc_type, KeyboardInterrupt) else signal.SIGTERM
  again = threading.Timer(0.05, os.kill, (os.getpid(), number))
  again.daemon = True
  again.start()


def quieten() -> None:
  """Hides what libraries say of themselves; a variable that the user set counts.

  XLA has one switch for its log: 2 leaves errors, among them that a compilation takes long. A CPU's other errors come
  as exceptions too, so 3 loses nothing; a GPU's exceptions point to what its libraries logged.
  """
  only_cpu = os.environ.get("JAX_PLATFORMS") == "cpu" or not any(
    importlib.util.find_spec(plugin) for plugin in ("jax_plugins", "libtpu")
  )
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if only_cpu else "2")
  # After a kill the process that clears up behind worker processes says what it cleared.
  mine = "ignore::UserWarning:multiprocessing.resource_tracker"
  given = os.environ.get("PYTHONWARNINGS", "")
  if mine not in given.split(","):
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (given, mine)))


def reuse_memory() -> None:
  """Lets glibc keep what XLA frees, where there is glibc.

  XLA on CPU takes and frees its buffers in every step. By default glibc hands large ones back to the kernel each time,
  and zeroing fresh pages then takes longer than the convolutions.
  """
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
  if mallopt is not None:
    trim_threshold, mmap_max, arena_max = -1, -4, -8  # malloc.h
    for option, value in ((trim_threshold, 2**31 - 1), (mmap_max, 0), (arena_max, 1)):
      mallopt(option, value)


def parse(argv: Sequence[str], required: Sequence[str] = ()) -> list[str]:
  """Parses `argv` into absl's flags.

  Args: argv: the command line, the program's name first. required: names of flags that must be given.
  Returns: the program's name alone (no program here takes bare arguments).
  Raises: InputError: what does not parse, and the nearest thing that would."""
  if any(arg in HELP for arg in argv[1:]):
    print(usage())
    sys.exit(0)
  argv = find_config_file(argv)
  try:
    rest = flags.FLAGS(list(argv))
  except flags.Error as error:
    raise InputError(flag_message(str(error))) from None
  except (KeyError, IndexError, AttributeError, TypeError, ValueError) as error:  # of ml_collections, for an override
    raise ConfigError(override_message(str(error), argv)) from None
  if rest[1:]:
    raise InputError(f"unexpected argument {rest[1]!r}: options are written --name=value; --help lists them")
  for flag in required:
    if flags.FLAGS[flag].value in (None, ""):
      hint = "=configs/NAME.py" if flag == "config" else f": {flags.FLAGS[flag].help}"
      raise InputError(f"--{flag} is missing: give --{flag}{hint}")
  return rest


def name() -> str:
  """Returns the running program as it is typed after `python -m`."""
  spec = getattr(sys.modules["__main__"], "__spec__", None)
  return spec.name.removesuffix(".__main__") if spec else os.path.basename(sys.argv[0])


def usage() -> str:
  """Returns the running program's docstring and its own flags."""
  doc = sys.modules["__main__"].__doc__ or ""
  return f"{doc.strip()}\n{flags.FLAGS.main_module_help().rstrip()}\n\n--helpfull also lists the flags of libraries."


def fail(message: str, code: int = 2) -> None:
  """Prints `message`, at most three lines of it, and exits."""
  lines = [line.strip() for line in message.strip().splitlines() if line.strip()][:3] or ["bad input"]
  print(f"{name()}: " + "\n".join(lines), file=sys.stderr)
  sys.exit(code)


def nearest(word: str, choices: Sequence[str]) -> str:
  """Returns `; did you mean X?` for the choice nearest to `word`, or an empty string."""
  found = difflib.get_close_matches(word, choices, n=1)
  return f"; did you mean {found[0]}?" if found else ""


def find_config_file(argv: Sequence[str]) -> list[str]:
  """Finds the config file before ml_collections does: its own complaint comes late and is a page long.

  Args: argv: the command line, where --config=FILE:ARGUMENT names a file that exists or, where there is none, one of
    the package's configs as `mar.py` or `configs/mar.py`.
  Returns: the command line with the file's whole path in place of a name of the package's.
  Raises: InputError: there is no such file.
  """
  found = list(argv)
  for index, arg in enumerate(argv[1:], 1):
    match = re.fullmatch(r"(--?config)(?:=(.*))?", arg, re.DOTALL)
    if match is None or "config" not in flags.FLAGS:
      continue
    at = index if match[2] is not None else index + 1
    value = match[2] if at == index else next(iter(argv[at:]), "")
    path, colon, argument = value.partition(":")
    if not os.path.isfile(path):
      value = f"{packaged_config(path)}{colon}{argument}"
      found[at:] = [f"{match[1]}={value}" if at == index else value, *argv[at + 1 :]]
    elif not path.endswith(".py"):
      raise ConfigError(f"--config={path}: a config is a .py file with get_config, such as configs/mar.py")
  return found


def packaged_config(path: str) -> str:
  """Returns the whole path of one of the package's configs. Raises: InputError: none of them has this name."""
  (home,) = configs.__path__
  names = packaged_configs(home)
  folder, file = os.path.split(os.path.normpath(path))
  if folder in ("", "configs") and file in names:
    return os.path.join(home, file)
  folder = os.path.dirname(path)
  others = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
  near = [os.path.join(folder, other) for other in sorted(others) if other.endswith(".py")]
  close = nearest(path, [*near, *names, *(f"configs/{name}" for name in names)])
  raise ConfigError(f"no config file {path!r}, and none of the package's ({', '.join(names)}){close}")


def packaged_configs(folder: str) -> list[str]:
  """Names of the files in `folder` that are experiments, and not what these share."""
  names = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
  return [name for name in names if "\ndef get_config(" in Path(folder, name).read_text(encoding="utf-8")]


def flag_message(text: str) -> str:
  """One line for an absl error; of a config that raised, the exception alone and not its traceback."""
  if "Traceback" in text:
    return f"{text.splitlines()[0].split(': Error')[0]}: {text.strip().splitlines()[-1]}"
  unknown = re.match(r"Unknown command line flag '(.*?)'", text)
  if unknown:
    word = unknown[1]
    if "." in word and word.split(".")[0] in flags.FLAGS:
      return f"--{word} comes without --{word.split('.')[0]}=FILE: overrides need the config that they change"
    return f"unknown option --{word}" + (nearest("--" + word, own_flags()) or "; --help lists the options")
  return " ".join(text.split())


def override_message(text: str, argv: Sequence[str]) -> str:
  """One line for an override that the config does not have: names the whole override and the nearest field."""
  close = re.search(r'Did you mean "(.*?)" instead of "(.*?)"', text)
  wrong = close[2] if close else re.sub(r"[^\w.]", "", text.split("\\n")[0])
  option = next((arg.partition("=")[0] for arg in argv[1:] if re.search(rf"\.{re.escape(wrong)}(\.|=|$)", arg)), None)
  if option is None:
    said = " ".join(text.replace("\\n", " ").split())
    return f"an override is not understood ({said}); name fields as the config file does, and give tuples whole"
  if close is None:
    return f"the config has no field {option}; the fields are in the config file"
  return f"the config has no field {option}; did you mean {option.replace('.' + wrong, '.' + close[1])}?"


def own_flags() -> list[str]:
  """Names of the flags that the running program itself defines."""
  main = flags.FLAGS.find_module_defining_flag
  return ["--" + flag for flag in flags.FLAGS if main(flag) in (sys.argv[0], "__main__", name()) or flag == "config"]
