"""The house: sizes of files and folders, and words that no name of the package uses any more."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "nwt_jax"
MOST_LINES, MOST_FILES = 300, 16
TOPS = ("configs", "benchmarks", "scripts", "launch", "notebooks")  # beside the package
FILES = sorted(PACKAGE.rglob("*.py"))

# Words that were private to this project. The talker has words of its own.
OLD = {
  "told", "heard", "hear", "say", "says", "in_turn", "redraw", "own_errors", "place_power", "hidden_first", "judge",
  "judged", "judgement", "workplace", "making", "building", "ruler", "rulers", "look_at", "apart", "settings", "remedy",
  "places", "place", "past", "note",
}  # fmt: skip
ALIASES = {"nwt_jax/aliases.py"}
FREE = {"places"}  # the keyword and the flag of before, beside `positions`


def names(tree: ast.AST):
  """Every identifier that a file defines or gives a value: functions, classes, parameters, fields, variables."""
  for node in ast.walk(tree):
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
      yield node.name
    elif isinstance(node, ast.arg):
      yield node.arg
    elif isinstance(node, ast.Name):
      yield node.id
    elif isinstance(node, ast.Attribute):
      yield node.attr
    elif isinstance(node, ast.keyword) and node.arg:
      yield node.arg


def words(name: str) -> set[str]:
  """Parts of a name: both of snake_case and CamelCase."""
  return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)} | {name.strip("_").lower()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_holds_one_idea(path):
  assert len(path.read_text().splitlines()) <= MOST_LINES


def test_a_folder_holds_one_idea():
  folders = {path.parent for path in FILES}
  full = {str(folder.relative_to(ROOT)) for folder in folders if len(list(folder.glob("*.py"))) > MOST_FILES}
  assert not full


def test_names_are_the_fields():
  found = {
    f"{path.relative_to(ROOT)}: {name}"
    for path in [*FILES, *(path for top in TOPS for path in sorted((ROOT / top).rglob("*.py")))]
    if str(path.relative_to(ROOT)) not in ALIASES and PACKAGE / "talker" not in path.parents
    for name in names(ast.parse(path.read_text()))
    if (words(name) & OLD or any(word in name.lower() for word in OLD if "_" in word)) and name not in FREE
  }
  assert not found, "\n".join(sorted(found))


def test_every_folder_says_what_it_holds():
  for folder in {path.parent for path in FILES}:
    assert ast.get_docstring(ast.parse((Path(folder) / "__init__.py").read_text())), folder
