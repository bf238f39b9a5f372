"""Bad flags, overrides and configs are answered in one line, at once, with exit code 2."""

import sys

import pytest
from absl import flags
from ml_collections import config_flags

from nwt_jax import program
from nwt_jax.errors import InputError

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
    program.parse(argv, required=["config"])
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
    ("return 5", 5, []),
    ("return None", None, []),
  ],
)
def test_exit_codes(parse, capsys, monkeypatch, body, code, lines):
  scope = {"InputError": InputError}
  exec(f"def main(argv):\n  {body}", scope)
  monkeypatch.setattr(sys, "argv", ["program"])
  with pytest.raises(SystemExit) as stop:
    program.run(scope["main"])
  assert stop.value.code == code
  printed = capsys.readouterr().err.splitlines()
  assert len(printed) == len(lines)
  assert all(line.endswith(want) for line, want in zip(printed, lines, strict=True))


def test_a_bug_keeps_its_traceback(parse, monkeypatch):
  monkeypatch.setattr(sys, "argv", ["program"])
  with pytest.raises(ZeroDivisionError):
    program.run(lambda argv: 1 // 0)


def test_help_is_not_an_error(parse, capsys):
  with pytest.raises(SystemExit) as stop:
    parse("--help")
  assert stop.value.code == 0
  assert capsys.readouterr().out
