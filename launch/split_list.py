"""Deals a list of recordings into parts: `split_list.py LIST N FOLDER` writes FOLDER/part-0000.txt (or .jsonl) and on.

Lines of one recording go to the same part, so that no recording is in two data sets. One list always gives the same
parts, and what is added at its end moves nothing.
"""

import json
import sys
import unicodedata
from pathlib import Path


def split(path: Path, count: int, folder: Path) -> list[int]:
  """Returns: how many lines each part has. Raises: ValueError: a line that is no JSON object."""
  recordings = {}
  for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
    line = line.strip()
    if not line or (path.suffix == ".txt" and line.startswith("#")):
      continue
    key = line
    if path.suffix == ".jsonl":
      row = json.loads(line) if line.startswith("{") else {}
      if not (key := row.get("source") or row.get("url") or row.get("path")):
        raise ValueError(f"{path} line {number}: wanted an object with `path` or `url`, got {line[:60]!r}")
    recordings.setdefault(unicodedata.normalize("NFC", str(key)), []).append(line)
  if not recordings:
    raise ValueError(f"{path} lists no recordings; write a path or an address on each line")
  parts = [[] for _ in range(count)]
  for index, lines in enumerate(recordings.values()):
    parts[index % count] += lines
  folder.mkdir(parents=True, exist_ok=True)
  for index, lines in enumerate(parts):
    text = "".join(f"{line}\n" for line in lines)
    (folder / f"part-{index:04d}{path.suffix}").write_text(text, encoding="utf-8")
  return [len(lines) for lines in parts]


if __name__ == "__main__":
  try:
    sizes = split(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
  except (ValueError, OSError) as error:
    print(f"split_list.py: {error}", file=sys.stderr)
    sys.exit(2)
  print(f"{sum(sizes)} lines in {len(sizes)} parts of {min(sizes)} to {max(sizes)}: {sys.argv[3]}")
