"""Generates the API pages from the docstrings, as HTML that needs no server and no network.

  make docs      # or: .venv-docs/bin/python scripts/api_page.py out/docs

pdoc reads the modules; this file turns our docstring sections ("Args: a: ... b: ...") into lists. The program ends with
exit code 1 where a module cannot be imported or gets no page, or something public in the modules of API has no
docstring.
"""

import importlib
import pkgutil
import re
import sys
import warnings
from pathlib import Path

PACKAGE = "nwt_jax"
API = ("nwt_jax.api", "nwt_jax.api.model", "nwt_jax.api.video", "nwt_jax.api.episodes")  # what users call
SECTION = re.compile(r"(?:^|(?<=[.)] )|(?<=\n))((?:Args|Returns|Yields|Raises|Source)(?:, (?:Returns|Raises))?):\s")
ENTRY = re.compile(r"(?:^|(?<=\. )|(?<=\n))(\*{0,2}[a-z]\w*(?:, [a-z]\w*)*|[A-Z]\w*Error): ")


def sections(docstring: str) -> str:
  """A docstring in Markdown, with a list of parameters or errors for each of its sections."""
  text, *parts = SECTION.split(docstring)
  made = [text.rstrip()]
  for name, body in zip(parts[::2], parts[1::2], strict=True):
    before, *entries = ENTRY.split("\n".join(line.strip() for line in body.strip().split("\n")))
    made.append(f"**{name}:** {one_line(before)}".rstrip())
    if entries:
      pairs = zip(entries[::2], entries[1::2], strict=True)
      made.append("\n".join(f"  - {as_code(names)}: {one_line(said)}" for names, said in pairs))
  return "\n\n".join(made)


def one_line(text: str) -> str:
  """Text without line breaks."""
  return " ".join(text.split())


def as_code(names: str) -> str:
  """Names of parameters or errors, each as code."""
  return ", ".join(f"`{name}`" for name in names.split(", "))


def modules(package) -> list[str]:
  """Names of all modules of a package but those that are programs of a folder."""
  names = [found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
  return [name for name in names if not name.endswith("__main__")]


def contents(names: list[str]) -> str:
  """A list of modules, each with the first paragraph of its docstring."""
  first = {name: (importlib.import_module(name).__doc__ or "").strip().split("\n\n")[0] for name in names}
  return "\n".join(f"{'  ' * (name.count('.') - 1)}- `{name}` {one_line(said)}" for name, said in first.items())


def undocumented(module) -> list[str]:
  """Public functions, classes and methods of a pdoc module that have no docstring."""
  own = [*module.classes, *module.functions]
  own += [method for kind in module.classes for method in kind.own_members if method.kind == "function"]
  return [one.fullname for one in own if not one.name.startswith("_") and not one.docstring]


def main(folder: str) -> None:
  """Writes folder/index.html and a page for each module."""
  pdoc = importlib.import_module("pdoc")  # of .venv-docs alone; tests import this file without it
  warnings.filterwarnings("error", message="Error loading module|Found .* does not resolve")
  pdoc.render.env.filters["to_markdown"] = sections
  pdoc.render.configure(footer_text=PACKAGE)
  package = importlib.import_module(PACKAGE)
  for lazy in (package, importlib.import_module(API[0])):  # pdoc does not ask for what is loaded on first use
    vars(lazy).update({name: getattr(lazy, name) for name in lazy.__all__})
  names = modules(package)
  package.__doc__ = f"{package.__doc__}\n\nMost users need `{API[0]}`. All modules:\n\n{contents(names)}"
  # By name, where the package above has an __all__: pdoc would take what that lists alone
  named = [name for name in names if hasattr(sys.modules[name.rpartition(".")[0]], "__all__")]
  pdoc.pdoc(PACKAGE, *named, output_directory=Path(folder))
  if lost := [name for name in names if not Path(folder, *name.split(".")).with_suffix(".html").exists()]:
    sys.exit(f"modules without a page: {', '.join(lost)}")
  if lacking := [name for module in API for name in undocumented(pdoc.doc.Module.from_name(module))]:
    sys.exit(f"public names without a docstring: {', '.join(lacking)}")
  print(Path(folder) / "index.html")


if __name__ == "__main__":
  main(*sys.argv[1:])
