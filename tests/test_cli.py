"""Bad flags, overrides and configs are answered in one line, at once, with exit code 2."""

import concurrent.futures.process
import contextlib
import errno
import os
import signal
import subprocess
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from nwt_jax import cli
from nwt_jax.errors import InputError, MachineError
from tests.conftest import ROOT

CONFIG = """
from ml_collections import ConfigDict

def get_config(arg=""):
  if arg:
    raise ValueError(f"unknown argument {arg!r}: choices are tiny")
  return ConfigDict({"train": {"steps": 3, "rate": 0.1}}).lock()
"""


@pytest.fixture
def parse(tmp_path, monkeypatch):
  """Returns `parse(*arguments)` for a program with --config (required) and --seed; {config} stands for a config."""
  (tmp_path / "good.py").write_text(CONFIG)
  monkeypatch.setattr(flags, "FLAGS", flags.FlagValues())
  config_flags.DEFINE_config_file("config", flag_values=flags.FLAGS)
  flags.DEFINE_integer("seed", 0, "seed of the noise", flag_values=flags.FLAGS)

  def run(*arguments):
    argv = [sys.argv[0], *(a.replace("{config}", str(tmp_path / "good.py")) for a in arguments)]
    monkeypatch.setattr(sys, "argv", argv)  # ml_collections looks for overrides there
    cli.parse(argv, required=["config"])
    return flags.FLAGS

  return run


@pytest.mark.parametrize(
  "arguments, wanted",
  [
    ([], "--config is missing: give --config=configs/NAME.py"),
    (["--config={config}", "--sed=3"], "unknown option --sed"),
    (["--config={config}", "--seed=x"], "--seed=x: invalid literal"),
    (["--config={config}", "--seed"], "Missing value for flag --seed"),
    (["--config={config}", "stray"], "unexpected argument 'stray'"),
    (["--config={config}", "--config.train.stpes=9"], "did you mean --config.train.steps?"),
    (["--config={config}", "--config.trian.steps=9"], "did you mean --config.train.steps?"),
    (["--config={config}", "--config.train.zebra=9"], "the config has no field --config.train.zebra"),
    (["--config={config}", "--config.train.steps=many"], "--config.train.steps=many: invalid literal"),
    (["--config.train.steps=9"], "--config.train.steps comes without --config=FILE"),
    (["--config={config}:huge"], "unknown argument 'huge': choices are tiny"),
    (["--config=nowhere/none.py"], "no config file 'nowhere/none.py'"),
    (["--config="], "no config file ''"),
  ],
)
def test_bad_command_line_is_one_line(parse, arguments, wanted):
  with pytest.raises(InputError) as error:
    parse(*arguments)
  assert wanted in str(error.value)
  assert len(str(error.value).splitlines()) == 1


PACKAGED = "none of the package's (dvae_lwt.py, dvae_mnist.py, far.py, mar.py, tokenize.py)"


@pytest.mark.parametrize("before", [[], ["--seed=7"]])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("name", ["mar.py", "configs/mar.py", "./configs/mar.py"])
def test_a_config_is_found_in_the_package(parse, tmp_path, monkeypatch, name, apart, before):
  monkeypatch.chdir(tmp_path)
  given = ["--config", f"{name}:tiny"] if apart else [f"--config={name}:tiny"]
  config = parse(*before, *given, "--config.train.steps=9").config
  assert (config.family, config.train.steps, config.model.linear_dim) == ("mar", 9, 8)


def test_a_config_that_exists_counts_before_the_packages(parse, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "configs").mkdir()
  (tmp_path / "configs" / "mar.py").write_text(CONFIG)
  assert parse("--config=configs/mar.py").config.train.steps == 3


@pytest.mark.parametrize(
  "given, close",
  [
    ("zebra.py:tiny", ""),
    ("configs/prior.py", "; did you mean configs/mar.py?"),  # what experiments share is none itself
    ("elsewhere/mar.py", ""),
    ("configs/dvae_lwd.py", "; did you mean configs/dvae_lwt.py?"),
    ("mra.py:tiny", "; did you mean mar.py?"),
  ],
)
def test_a_config_that_is_nowhere_names_those_of_the_package(parse, tmp_path, monkeypatch, given, close):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(InputError) as error:
    parse(f"--config={given}")
  assert str(error.value) == f"no config file {given.partition(':')[0]!r}, and {PACKAGED}{close}"


def test_missing_config_names_its_neighbour(parse, tmp_path):
  with pytest.raises(InputError, match=r"did you mean .*good\.py\?"):
    parse(f"--config={tmp_path}/god.py")


def test_good_command_line_parses(parse):
  parsed = parse("--config={config}", "--config.train.steps=9", "--seed=7")
  assert (parsed.config.train.steps, parsed.seed) == (9, 7)


@pytest.mark.parametrize(
  "body, code, lines",
  [
    ("raise InputError('no such file: give one')", 2, ["no such file: give one"]),
    ("raise InputError('one\\n\\ntwo\\nthree\\nfour')", 2, ["one", "two", "three"]),
    ("raise KeyboardInterrupt", 130, ["interrupted"]),
    ("raise MachineError('the disk of /a is full')", 2, ["the disk of /a is full"]),
    ("raise MemoryError", 2, ["out of memory: end other programs, or take less at once"]),
    ("raise OSError(errno.ENOSPC, 'x', '/a/b')", 2, ["/a/b: No space left on device; make room, or write elsewhere"]),
    ("raise OSError(errno.ENOSPC, 'x')", 2, ["No space left on device; make room, or write elsewhere"]),
    ("raise OSError(errno.EDQUOT, 'x', b'/a')", 2, ["/a: Disk quota exceeded; make room, or write elsewhere"]),
    ("raise OSError(errno.EROFS, 'x', '/a', None, '/b')", 2, ["/a: /b: Read-only file system; write elsewhere"]),
    ("raise OSError(errno.EMFILE, 'x', '/a')", 2, ["/a: Too many open files; raise `ulimit -n`"]),
    ("raise OSError(errno.EIO, 'x', '/a')", 1, ["look at the system's log"]),  # where others are, a restart may go on
    ("raise OSError(errno.ESTALE, 'x', '/a')", 1, ["give the same command again"]),
    ("raise PermissionError(errno.EACCES, 'x', '/a')", 2, ["take another place"]),
    ("raise concurrent.futures.process.BrokenProcessPool('x')", 2, ["and give the same command again"]),
    ("os.kill(os.getpid(), signal.SIGTERM)", 143, ["stopped by SIGTERM"]),
    ("return 5", 5, []),
    ("return None", None, []),
  ],
)
def test_exit_codes(parse, capsys, monkeypatch, body, code, lines):
  scope = {"InputError": InputError, "MachineError": MachineError}
  scope |= {"errno": errno, "concurrent": concurrent, "os": os, "signal": signal}
  exec(f"def main(argv):\n  {body}", scope)
  monkeypatch.setattr(sys, "argv", ["program"])
  monkeypatch.setattr(os, "environ", dict(os.environ))
  before = signal.getsignal(signal.SIGTERM)
  try:
    with pytest.raises(SystemExit) as stop:
      cli.run(scope["main"])
  finally:
    signal.signal(signal.SIGTERM, before)
  assert stop.value.code == code
  printed = capsys.readouterr().err.splitlines()
  assert len(printed) == len(lines)
  assert all(line.endswith(want) for line, want in zip(printed, lines, strict=True))


@pytest.mark.parametrize("bug", [ZeroDivisionError(), FileNotFoundError(errno.ENOENT, "x", "/a"), ValueError("x")])
def test_a_bug_keeps_its_traceback(parse, monkeypatch, bug):
  assert cli.fault(bug) is None

  def main(argv):
    raise bug

  monkeypatch.setattr(sys, "argv", ["program"])
  monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
  monkeypatch.setattr(os, "environ", dict(os.environ))
  with pytest.raises(type(bug)):
    cli.run(main)


SLOW = """
from nwt_jax import cli
def main(argv):
  import jax, jax.numpy as jnp, numpy as np
  numbers = np.random.default_rng(0).random(12_000, np.float32)
  print(jax.jit(lambda x: x + jnp.sort(jnp.asarray(numbers))[0])(1.0))  # a constant that XLA takes seconds to fold
cli.run(main)
"""


@pytest.mark.parametrize("level, lines", [(None, False), ("2", True)])
def test_xla_does_not_say_that_it_is_slow_unless_it_is_asked_to(level, lines):
  told = {} if level is None else {"TF_CPP_MIN_LOG_LEVEL": level}
  env = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"} | told
  env["JAX_ENABLE_COMPILATION_CACHE"] = "0"
  done = subprocess.run([sys.executable, "-c", SLOW], env=env, capture_output=True, text=True, timeout=200)
  assert done.returncode == 0 and bool(done.stderr) == lines, done.stderr


POOL = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a process that a shell put in the background
from nwt_jax import cli
from nwt_jax.prepare.engines.local import Local
def main(argv):
  with Local(2) as local:
    for _ in local.map(time.sleep, [0.01] * 100 + [60] * 4):
      print("working", flush=True)
if __name__ == "__main__":
  cli.run(main)
"""


@pytest.mark.parametrize(
  "number, code, said",
  [
    (signal.SIGINT, 130, "interrupted"),
    (signal.SIGTERM, 143, "stopped by SIGTERM"),
    (signal.SIGKILL, -signal.SIGKILL, ""),
  ],
)
def test_a_program_that_is_ended_ends_its_workers_and_says_no_more_than_that(tmp_path, number, code, said):
  (tmp_path / "pool.py").write_text(POOL)
  env = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"} | {"PYTHONPATH": str(ROOT)}
  pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
  process = subprocess.Popen([sys.executable, tmp_path / "pool.py"], env=env, start_new_session=True, **pipes)
  process.stdout.readline()
  group = process.pid
  (os.killpg if number == signal.SIGINT else os.kill)(group, number)
  try:
    _, stderr = process.communicate(timeout=30)  # ends when nobody holds the pipes any more: no worker is left
  finally:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(group, signal.SIGKILL)
  assert process.returncode == code
  assert stderr.strip().removeprefix("pool.py: ") == said


IN_A_CALLBACK = """
import gc, os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from nwt_jax import cli
def callback(phase, _):
  if phase == "start" and not sent:
    sent.append(True)
    os.kill(os.getpid(), int(sys.argv[1]))
    for _ in range(100):
      pass  # the handler runs here, and Python drops what it raises
sent = []
def main(argv):
  gc.callbacks.append(callback)
  gc.collect()
  time.sleep(20)
cli.parse = lambda argv, required: argv
cli.run(main)
"""


@pytest.mark.parametrize("number, code, last", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_signal_that_comes_inside_a_callback_of_a_library_ends_the_program_too(number, code, last):
  command = [sys.executable, "-c", IN_A_CALLBACK, str(int(number))]
  done = subprocess.run(command, capture_output=True, text=True, timeout=15)
  assert (done.returncode, done.stderr.strip().endswith(last)) == (code, True), done.stderr
  assert "Traceback" not in done.stderr


def test_help_is_not_an_error(parse, capsys):
  with pytest.raises(SystemExit) as stop:
    parse("--help")
  assert stop.value.code == 0
  assert capsys.readouterr().out
