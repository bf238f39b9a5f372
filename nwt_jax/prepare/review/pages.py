"""Pages for people: a contact sheet to keep or drop clips by (appendix D.5), and the report of a preparation.

Both are files that need no server and make no request; texts from outside are escaped, or set as text by the script.
"""

import base64
import html
import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from nwt_jax.io.video import Box
from nwt_jax.prepare.examine.clip import FAULTS, FLAGS, REASONS

NOBODY = MappingProxyType({})
REVIEW, REPORT = "review.html", "report.html"
SHEET = 24  # clips of an episode that the report shows
FACES = 3  # clips of each of several people that it shows

_STYLE = """
body { font: 15px/1.45 sans-serif; margin: 1.5rem auto; max-width: 72rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } td { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top }
td.n { text-align: right } img { max-width: 100%; display: block }
figure { display: inline-block; margin: 0 .5rem .5rem 0; font-size: 12px; max-width: 24rem }
.strip { position: relative; display: inline-block }
.strip i { position: absolute; overflow: hidden; top: 0; bottom: 0 }
.strip b { position: absolute; box-shadow: 0 0 0 2px #fc0, 0 0 0 99rem #0007 }
"""


def write_review(
  path, rows: Sequence[Mapping], pictures: Mapping[str, str], command: str, people: Mapping[str, str] = NOBODY
) -> None:
  """Writes the page on which clips are kept or dropped with the keyboard; it saves decisions.json.

  Args: path: file to write. rows: of the manifest, those without a fault. pictures: name -> address of a strip of
    pictures, relative to the page. command: what to run with the decisions. people: name -> who it may be, or nothing.
  Source: D.5."""
  clips = [
    {
      "name": row["name"],
      "episode": row["episode"],
      "seconds": row["length"] or 0.0,
      "flags": row["flags"],
      "picture": pictures.get(row["name"], ""),
      "person": people.get(row["name"], ""),
      "crop": kept_part(row),
    }
    for row in rows
  ]
  key = f"nwt_jax review {os.path.abspath(path)}"  # under which a browser remembers decisions
  data = json.dumps({"clips": clips, "reasons": REASONS, "flags": FLAGS, "key": key, "command": command})
  page = Path(__file__).with_name(REVIEW).read_text(encoding="utf-8")
  Path(path).write_text(page.replace("DATA", data.replace("<", "\\u003c"), 1), encoding="utf-8", errors="replace")


def kept_part(row: Mapping) -> list[float]:
  """Left, top, width, height of what is kept, parts of the picture; and how many pictures a strip has. Or nothing."""
  if not row.get("crop"):
    return []
  (width, height), box = row["shown"], Box.parse(row["crop"])
  parts = (box.left / width, box.top / height, box.width / width, box.height / height)
  return [*(round(part, 4) for part in parts), row["strip"]]


def write_report(
  path,
  rows: Sequence[Mapping],
  pictures: Mapping[str, Path],
  metadata: Mapping,
  syncs: Mapping[str, str],
  people: Mapping[str, str] = NOBODY,
) -> None:
  """Writes what a preparation did: counts by reason, durations, a contact sheet an episode, offsets of the sound.

  Args: path: file to write. rows: the manifest. pictures: name -> JPEG. metadata: of the data set. syncs: see
    offsets.listen. people: name -> who it may be, where several people count as one episode.
  """
  kept, out = [row for row in rows if row["kept"]], [row for row in rows if not row["kept"]]
  minutes = lambda chosen: f"{sum(row['length'] or 0 for row in chosen) / 60:.1f} min"
  count = lambda found, names: [(names.get(name, name), number, name) for name, number in found.most_common()]
  flags = Counter(flag for row in rows for flag in row["flags"])
  held = Counter(flag for row in kept for flag in row["flags"])
  tables = {
    "Prepared clips": [
      ("found", len(rows), ""),
      ("kept", len(kept), minutes(kept)),
      ("left out", len(out), ""),
      *((f"in {split}", number, f"{metadata['frames'][split]} frames") for split, number in metadata["splits"].items()),
    ],
    "Rejected: the file cannot be trusted": count(Counter(row["fault"] for row in out if row["fault"]), FAULTS),
    "Dropped by review or --auto": [
      line[:2] for line in count(Counter(row["reason"] for row in out if not row["fault"]), {})
    ],
    "Flagged": [(*line, f"{held[line[-1]]} kept") for line in count(flags, FLAGS)],
    "Sound against mouth": sorted(syncs.items()),
  }
  parts = [f"<h2>{html.escape(title)}</h2>{_table(lines)}" for title, lines in tables.items()]
  persons = defaultdict(list)
  for row in rows:
    if row["name"] in people:
      persons[people[row["name"]]].append(row)
  if persons:
    parts.append("<h2>Several people, it seems</h2><p>A guess; correct people.csv, and give it as --episodes.</p>")
  for person, some in sorted(persons.items()):
    parts.append(f"<h3>{html.escape(person)}, {len(some)} clips</h3>")
    parts += [_figure(row, pictures[row["name"]]) for row in some[:: -(-len(some) // FACES)] if row["name"] in pictures]
  episodes = defaultdict(list)
  for row in kept:
    episodes[row["episode"]].append(row)
  for episode, some in sorted(episodes.items()):
    parts.append(f"<h2>Episode {html.escape(episode)}</h2><p>{len(some)} clips, {minutes(some)}</p>")
    shown = [row for row in some if row["name"] in pictures]
    for row in shown[:: max(1, -(-len(shown) // SHEET))]:
      parts.append(_figure(row, pictures[row["name"]]))
  parts.append("<h2>Left out</h2>" + _table((row["name"], row["reason"], row["decided_by"]) for row in out))
  policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
  head = (
    f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}"><title>prepared clips</title>'
  )
  page = (
    f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head><body>{"".join(parts)}</body></html>\n'
  )
  Path(path).write_text(page, encoding="utf-8", errors="replace")


def _figure(row, picture) -> str:
  """A clip's strip; what is not kept of the pictures is dark."""
  data = base64.b64encode(Path(picture).read_bytes()).decode()
  text = html.escape(": ".join([row["name"], *([", ".join(row["flags"])] if row["flags"] else [])]))
  frames = ""
  if part := kept_part(row):
    *box, count = part
    places = zip(("left", "top", "width", "height"), box, strict=True)
    inner = ";".join(f"{side}:{100 * value:.2f}%" for side, value in places)
    outer = [f"left:{100 * n / count:.3f}%;width:{100 / count:.3f}%" for n in range(count)]
    frames = "".join(f'<i style="{place}"><b style="{inner}"></b></i>' for place in outer)
  image = f'<img alt="{text}" src="data:image/jpeg;base64,{data}">'
  return f'<figure><div class="strip">{image}{frames}</div><figcaption>{text}</figcaption></figure>'


def _table(rows) -> str:
  cell = lambda value: f"<td{' class=n' if isinstance(value, int) else ''}>{html.escape(str(value))}</td>"
  text = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
  return f"<table>{text}</table>" if text else "<p>none</p>"
