"""Installs packages with pip and tells how far it is: `python scripts/packages.py [pip install's own arguments]`.

A line on a terminal, rewritten in place; else one every quarter of a minute. What pip says is shown where it fails.
"""

import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

EVERY = 15  # seconds between lines where they are not rewritten


def wanted(arguments: list[str]) -> int | None:
  """How many packages a lock asks for on this machine; None where none is given, or pip cannot say."""
  try:
    from pip._vendor.packaging.requirements import Requirement

    names = Path(arguments[arguments.index("-r") + 1]).read_text(encoding="utf-8")
    rows = [Requirement(row) for row in re.findall(r"^(\w.*?) *\\?$", names, re.MULTILINE)]
  except (ImportError, ValueError):
    return None
  return sum(row.marker is None or row.marker.evaluate() for row in rows)


def install(arguments: list[str]) -> int:
  """Runs pip. Returns: its exit code."""
  command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *arguments]
  total, live, started = wanted(arguments), sys.stdout.isatty(), time.monotonic()
  of = f" of {total}" if total else ""
  names, last, installing = [], started, False
  lines: queue.Queue[str | None] = queue.Queue()
  with tempfile.TemporaryFile("w+") as said:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
      command, stdout=subprocess.PIPE, stderr=said, text=True, errors="replace", env=environment
    )

    output = process.stdout
    assert output is not None

    def read() -> None:
      for line in output:
        lines.put(line)
      lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
      try:
        line = lines.get(timeout=1)
      except queue.Empty:
        line = ""
      if line is None:
        break
      # Of pip's lines for people; were they to change, it would only tell less.
      if found := re.match(r"(?:Collecting|Processing|Requirement already satisfied:) (?:\S*/)?([\w.]+)", line):
        names.append(found[1])
      installing = installing or line.startswith("Installing") or len(names) == total
      text = "installing" if installing else f"fetching {names[-1]}" if names else "looking"
      now = time.monotonic()
      if now - last >= (0.2 if live else EVERY):
        last = now
        clock = f"{int(now - started) // 60}:{int(now - started) % 60:02d}"
        row = f"  {len(names)}{of} packages, {clock}, {text}"
        print(f"\r\033[K{row}" if live else row, end="" if live else "\n", flush=True)
    code = process.wait()
    if live:
      print("\r\033[K", end="", flush=True)
    if code:
      said.seek(0)
      sys.stderr.write(said.read())
  return code


if __name__ == "__main__":
  try:
    sys.exit(install(sys.argv[1:]))
  except KeyboardInterrupt:
    sys.exit(130)
