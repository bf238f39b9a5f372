"""`make venv` tells how far it is, in few lines, and shows what pip says where pip fails."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PIP = """
import sys, time
print("Looking in links: nowhere")
print("WARNING: noise", file=sys.stderr)
for name in ("one", "two", "three"):
  print(f"Processing /wheels/{name}-1.0.whl" if name == "two" else f"Collecting {name}==1.0 (from -r lock (line 1))")
  time.sleep(0.4)
print("Installing collected packages: one, two, three")
time.sleep(1.2)
if "bad" in sys.argv:
  sys.exit("ERROR: no matching distribution for bad")
"""
LOCK = """
one==1.0 \\
    --hash=sha256:00
two==1.0 ; python_version >= '3' \\
    --hash=sha256:00 \\
    --hash=sha256:01
three==1.0 ; sys_platform == 'elsewhere' \\
    --hash=sha256:00
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
  """Returns `install(*arguments, every=...)` with a pip of our own, which says little."""
  (tmp_path / "pip").mkdir()
  (tmp_path / "pip" / "__init__.py").touch()
  (tmp_path / "pip" / "__main__.py").write_text(PIP)

  def run(*arguments, every=0.5):
    script = (ROOT / "scripts" / "packages.py").read_text()
    path = tmp_path / "packages.py"
    path.write_text(re.sub(r"^EVERY = .*$", f"EVERY = {every}", script, flags=re.MULTILINE))
    command = [sys.executable, path, *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)

  return run


def test_a_line_now_and_then_tells_how_far_it_is(install):
  done = install("one", "two", "three")
  lines = done.stdout.splitlines()
  assert (done.returncode, done.stderr) == (0, "") and 2 <= len(lines) <= 5
  assert all(re.fullmatch(r"  \d packages, 0:\d\d, (fetching \w+|installing)", line) for line in lines)
  assert lines[-1].startswith("  3 packages, 0:0") and lines[-1].endswith("installing")


def test_a_log_is_short(install):
  assert install("one", every=15).stdout == ""


def test_what_pip_says_is_seen_where_it_fails(install):
  done = install("bad")
  assert done.returncode == 1
  assert done.stderr.splitlines()[-1] == "ERROR: no matching distribution for bad"


def test_a_lock_tells_how_many_are_wanted_on_this_machine(tmp_path):
  spec = importlib.util.spec_from_file_location("packages", ROOT / "scripts" / "packages.py")
  packages = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(packages)
  (tmp_path / "lock").write_text(LOCK)
  assert packages.wanted(["--no-deps", "-r", str(tmp_path / "lock")]) == 2
  assert packages.wanted(["--no-deps", "one"]) is None
  assert 100 < packages.wanted(["-r", str(ROOT / "requirements.lock")]) < 200
