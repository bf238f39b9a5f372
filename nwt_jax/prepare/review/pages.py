"""Writes HTML pages: a contact sheet for keeping or dropping clips (appendix D.5), and the report of a preparation.

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

from nwt_jax.io.box import Box
from nwt_jax.prepare.clip import FAULTS, FLAGS, ClipRecord
from nwt_jax.prepare.examine.examination import REASONS

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
  path: str | os.PathLike,
  clips: Sequence[ClipRecord],
  pictures: Mapping[str, str],
  command: str,
  people: Mapping[str, str] = NOBODY,
) -> None:
  """Writes the page on which clips are kept or dropped with the keyboard; it saves decisions.json.

  Args: path: file to write. clips: those without a fault. pictures: name -> address of a strip of
    pictures, relative to the page. command: the command to run with the decisions. people: name -> person, if known.
  Source: D.5."""
  found = [
    {
      "name": clip.name,
      "episode": clip.episode,
      "seconds": clip.seconds,
      "flags": clip.flags,
      "picture": pictures.get(clip.name, ""),
      "person": people.get(clip.name, ""),
      "crop": kept_part(clip),
    }
    for clip in clips
  ]
  key = f"nwt_jax review {os.path.abspath(path)}"  # under which a browser remembers decisions
  data = json.dumps({"clips": found, "reasons": REASONS, "flags": FLAGS, "key": key, "command": command})
  page = Path(__file__).with_name(REVIEW).read_text(encoding="utf-8")
  Path(path).write_text(page.replace("DATA", data.replace("<", "\\u003c"), 1), encoding="utf-8", errors="replace")


def kept_part(clip: ClipRecord) -> list:
  """Returns left, top, width and height of the kept part, in parts of the picture, and the number of pictures in the
  strip; or an empty list."""
  if not clip.crop:
    return []
  (width, height), box = clip.shown, Box.parse(clip.crop)
  assert isinstance(box, Box)  # in pixels of this picture
  parts = (box.left / width, box.top / height, box.width / width, box.height / height)
  return [*(round(part, 4) for part in parts), clip.strip]


def write_report(
  path: str | os.PathLike,
  clips: Sequence[ClipRecord],
  pictures: Mapping[str, Path],
  metadata: Mapping,
  syncs: Mapping[str, str],
  people: Mapping[str, str] = NOBODY,
) -> None:
  """Writes the report of a preparation: counts by reason, durations, a contact sheet per episode, sound offsets.

  Args: path: file to write. clips: all clips. pictures: name -> JPEG. metadata: that of the data set. syncs: see
    offsets.estimate_offsets. people: name -> person, where several people count as one episode.
  """
  kept, out = [clip for clip in clips if clip.kept], [clip for clip in clips if not clip.kept]
  minutes = lambda chosen: f"{sum(clip.seconds for clip in chosen) / 60:.1f} min"
  count = lambda found, names: [(names.get(name, name), number, name) for name, number in found.most_common()]
  flags = Counter(flag for clip in clips for flag in clip.flags)
  kept_flags = Counter(flag for clip in kept for flag in clip.flags)
  tables = {
    "Prepared clips": [
      ("found", len(clips), ""),
      ("kept", len(kept), minutes(kept)),
      ("left out", len(out), ""),
      *((f"in {split}", number, f"{metadata['frames'][split]} frames") for split, number in metadata["splits"].items()),
    ],
    "Rejected: the file cannot be trusted": count(Counter(clip.fault for clip in out if clip.fault), FAULTS),
    "Dropped by review or --auto": [
      line[:2] for line in count(Counter(clip.reason for clip in out if not clip.fault), {})
    ],
    "Flagged": [(*line, f"{kept_flags[line[-1]]} kept") for line in count(flags, FLAGS)],
    "Sound against mouth": sorted(syncs.items()),
  }
  parts = [f"<h2>{html.escape(title)}</h2>{_table(lines)}" for title, lines in tables.items()]
  persons = defaultdict(list)
  for clip in clips:
    if clip.name in people:
      persons[people[clip.name]].append(clip)
  if persons:
    parts.append("<h2>Several people, it seems</h2><p>A guess; correct people.csv, and give it as --episodes.</p>")
  for person, some in sorted(persons.items()):
    parts.append(f"<h3>{html.escape(person)}, {len(some)} clips</h3>")
    parts += [_figure(clip, pictures[clip.name]) for clip in some[:: -(-len(some) // FACES)] if clip.name in pictures]
  episodes = defaultdict(list)
  for clip in kept:
    episodes[clip.episode].append(clip)
  for episode, some in sorted(episodes.items()):
    parts.append(f"<h2>Episode {html.escape(episode)}</h2><p>{len(some)} clips, {minutes(some)}</p>")
    shown = [clip for clip in some if clip.name in pictures]
    for clip in shown[:: max(1, -(-len(shown) // SHEET))]:
      parts.append(_figure(clip, pictures[clip.name]))
  parts.append("<h2>Left out</h2>" + _table((clip.name, clip.reason, clip.decided_by) for clip in out))
  policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
  head = (
    f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}"><title>prepared clips</title>'
  )
  page = (
    f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head><body>{"".join(parts)}</body></html>\n'
  )
  Path(path).write_text(page, encoding="utf-8", errors="replace")


def _figure(clip, picture) -> str:
  """Returns a clip's strip; the parts of the pictures that are not kept are dark."""
  data = base64.b64encode(Path(picture).read_bytes()).decode()
  text = html.escape(": ".join([clip.name, *([", ".join(clip.flags)] if clip.flags else [])]))
  frames = ""
  if part := kept_part(clip):
    *box, count = part
    sides = zip(("left", "top", "width", "height"), box, strict=True)
    inner = ";".join(f"{side}:{100 * value:.2f}%" for side, value in sides)
    outer = [f"left:{100 * n / count:.3f}%;width:{100 / count:.3f}%" for n in range(count)]
    frames = "".join(f'<i style="{position}"><b style="{inner}"></b></i>' for position in outer)
  image = f'<img alt="{text}" src="data:image/jpeg;base64,{data}">'
  return f'<figure><div class="strip">{image}{frames}</div><figcaption>{text}</figcaption></figure>'


def _table(rows) -> str:
  cell = lambda value: f"<td{' class=n' if isinstance(value, int) else ''}>{html.escape(str(value))}</td>"
  text = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
  return f"<table>{text}</table>" if text else "<p>none</p>"
