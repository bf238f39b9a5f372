"""The ways in for a developer: targets of make, stages of .ci/run and who calls them, hooks, releases, programs."""

import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml

from nwt_jax import __main__ as programs
from nwt_jax import __version__
from tests.conftest import ROOT


def run(*command, cwd=ROOT, **environment):
  env = {**os.environ, **environment}
  return subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, timeout=60)


def test_make_alone_lists_every_target():
  listed = re.findall(r"^  make ([a-z-]+) +\S", run("make").stdout, re.MULTILINE)
  targets = re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
  assert listed == targets


@pytest.fixture
def ci(tmp_path):
  """Returns `ci(*stages, FAIL=target)`: runs .ci/run with a make that prints its target, and fails for one of them."""
  (tmp_path / "make").write_text('#!/bin/sh\necho "make $*"\n[ "$*" != "$FAIL" ]\n')
  (tmp_path / "make").chmod(0o755)

  def start(*stages, **environment):
    done = run(ROOT / ".ci" / "run", *stages, cwd=tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}", **environment)
    return done.returncode, re.findall(r"^make (.*)", done.stdout, re.MULTILINE), done.stderr

  return start


def test_ci_runs_the_stages_that_are_asked_for_and_all_by_default(ci):
  everything = ["venv", "lint", "docs", "test", "gates", "test-slow", "test-system"]
  assert ci(FAIL="") == (0, everything, "")
  assert ci("slow", "lint", FAIL="") == (0, ["test-slow", "lint"], "")


def test_ci_ends_at_the_first_stage_that_fails(ci):
  code, made, _ = ci(FAIL="test")
  assert code != 0 and made == ["venv", "lint", "docs", "test"]


def test_an_unknown_stage_names_the_others(ci):
  code, made, said = ci("fast", "fats", FAIL="")
  assert (code, made) == (2, [])
  assert said == ".ci/run: no stage 'fats'; choose from environment lint docs fast gates slow system\n"


def test_the_workflow_runs_every_stage_of_ci(ci):
  workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
  job = workflow["jobs"]["stage"]
  stages = ci("nothing", FAIL="")[2].rpartition("choose from ")[2].split()
  assert ["environment", *job["strategy"]["matrix"]["stage"]] == stages
  assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run environment ${{ matrix.stage }}"]


def test_hooks_are_what_the_lock_has():
  hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
  assert [hook["entry"].split()[:2] for hook in hooks] == [[".venv/bin/ruff", "check"], [".venv/bin/ruff", "format"]]
  assert re.search(r"^ruff==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)


def test_the_type_checker_finds_an_error(tmp_path):
  """As the project has it set, with one more file: a check that finds nothing anywhere would pass too."""
  (tmp_path / "nwt_jax").mkdir()
  (tmp_path / "nwt_jax" / "__init__.py").touch()
  shutil.copy(ROOT / "nwt_jax" / "errors.py", tmp_path / "nwt_jax")
  for folder in ("configs", "scripts"):
    (tmp_path / folder).mkdir()
  shutil.copy(ROOT / "pyproject.toml", tmp_path)
  ty = [sys.executable, "-m", "ty", "check", f"--python={sys.prefix}"]
  assert run(*ty, cwd=tmp_path).returncode == 0
  (tmp_path / "nwt_jax" / "wrong.py").write_text("from nwt_jax import errors\n\nerrors.InputErorr\nx: int = 'one'\n")
  done = run(*ty, "--output-format=concise", cwd=tmp_path)
  assert done.returncode == 1 and len(re.findall(r"^nwt_jax/wrong.py:[34]:", done.stdout, re.MULTILINE)) == 2


@pytest.fixture
def release(tmp_path):
  """Returns `release(version)`, in a repository of two files with one commit; and that repository."""
  (tmp_path / "scripts").mkdir()
  (tmp_path / "nwt_jax").mkdir()
  shutil.copy(ROOT / "scripts" / "release.sh", tmp_path / "scripts")
  shutil.copy(ROOT / "Makefile", tmp_path)
  (tmp_path / "nwt_jax" / "__init__.py").write_text('"""A package."""\n\n__version__ = "1.2.3"\n')
  person = {f"GIT_{who}_{what}": "nobody@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

  def git(*arguments):
    done = run("git", *arguments, cwd=tmp_path, **person)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

  def start(version):
    done = run("make", "--no-print-directory", "release", f"VERSION={version}", cwd=tmp_path, **person)
    return done.returncode == 0, (done.stdout if done.returncode == 0 else done.stderr).splitlines()[0]

  git("init", "-q")
  git("add", ".")
  git("commit", "-qm", "first")
  start.git, start.folder = git, tmp_path
  return start


def test_a_release_is_a_tag_on_this_commit(release):
  done, said = release("1.2.3")
  assert done and said.endswith("as v1.2.3. To publish it: git push origin v1.2.3")
  assert release.git("rev-parse", "v1.2.3^{commit}") == release.git("rev-parse", "HEAD")
  assert release("1.2.3") == (False, "release: there is a tag v1.2.3 already: raise the version")


@pytest.mark.parametrize(
  "version, wanted",
  [
    ("", "release: '' is no version: "),
    ("1.2", "release: '1.2' is no version: "),
    ("1.2.4", 'release: nwt_jax/__init__.py says 1.2.3: write __version__ = "1.2.4" there'),
  ],
)
def test_a_release_of_another_version_is_refused(release, version, wanted):
  done, said = release(version)
  assert not done and said.startswith(wanted)
  assert release.git("tag") == ""


def test_a_release_with_changes_about_is_refused(release):
  (release.folder / "new").touch()
  assert release("1.2.3") == (
    False, "release: there are changes that are not committed: commit them, or put them aside"
  )  # fmt: skip


@pytest.mark.parametrize("entry, fits", [("## 1.2.3 (2026)", True), ("## [1.2.3]", True), ("## 1.2.30", False)])
def test_a_release_has_an_entry_in_the_changelog(release, entry, fits):
  (release.folder / "CHANGELOG.md").write_text(f"# Changes\n\n{entry}\n")
  release.git("add", ".")
  release.git("commit", "-qm", "second")
  done, said = release("1.2.3")
  assert done == fits and (fits or said.startswith("release: CHANGELOG.md has no entry '## 1.2.3'"))


def test_the_version_stands_in_one_place():
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())
  assert "version" not in project["project"] and project["project"]["dynamic"] == ["version"]
  assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "nwt_jax.__version__"}
  assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_every_program_is_listed_and_has_a_line():
  files = (ROOT / "nwt_jax").rglob("*.py")
  found = {path for path in files if re.search(r"^  cli\.run\(", path.read_text(), re.MULTILINE)}
  modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__") for path in found}
  assert {module for module, _ in programs.PROGRAMS.values()} == modules
  lines = programs.listing().splitlines()[2:]
  assert [line.split()[0] for line in lines] == list(programs.PROGRAMS) and all(len(line) <= 120 for line in lines)


def test_a_program_gets_its_arguments_and_its_name():
  done = run(sys.executable, "-m", "nwt_jax", "sample", "--sed=3")
  assert (done.returncode, done.stderr) == (2, "nwt_jax.sample: unknown option --sed; did you mean --seed?\n")
  done = run(sys.executable, "-m", "nwt_jax", "sampel")
  assert (done.returncode, done.stderr) == (2, "nwt_jax: no program 'sampel'; did you mean sample?\n")
