"""Draws the two stages for README, for a light and a dark page.

  python scripts/architecture_figure.py docs/figures

writes architecture-light.svg and architecture-dark.svg.
"""

import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

WIDTH, HEIGHT = 880, 468


class Colours(NamedTuple):
  """Text and lines, the ground of a box of each kind, and its border."""

  ink: str
  soft: str
  line: str
  lane: str
  model: str
  data: str
  codes: str
  border: str


THEMES = {
  "light": Colours("#1f2328", "#57606a", "#57606a", "#f6f8fa", "#ddf4ff", "#ffffff", "#fff1cc", "#afb8c1"),
  "dark": Colours("#e6edf3", "#9ea7b3", "#9ea7b3", "#161b22", "#12304f", "#21262d", "#4a3a10", "#4d5661"),
}


def box(colours: Colours, x: float, y: float, width: float, height: float, kind: str, lines: list[str]) -> str:
  """A rounded box; its first line is the name, the others are smaller."""
  fill = getattr(colours, kind)
  parts = [f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="7" fill="{fill}" stroke="{colours.border}"/>']
  top = y + height / 2 - 8 * (len(lines) - 1) + 5
  for number, line in enumerate(lines):
    look = f'font-weight="600" fill="{colours.ink}"' if not number else f'font-size="11.5" fill="{colours.soft}"'
    parts.append(f'<text x="{x + width / 2}" y="{top + 16 * number}" text-anchor="middle" {look}>{escape(line)}</text>')
  return "".join(parts)


def arrow(colours: Colours, *points: tuple[float, float], dashed: bool = False) -> str:
  """An arrow along the points; the paper draws sampling dashed, and so does this."""
  path = " ".join(f"{'L' if number else 'M'}{x} {y}" for number, (x, y) in enumerate(points))
  dash = ' stroke-dasharray="5 4"' if dashed else ""
  return f'<path d="{path}" fill="none" stroke="{colours.line}" stroke-width="1.6"{dash} marker-end="url(#head)"/>'


def caption(colours: Colours, x: float, y: float, text: str, anchor: str = "middle") -> str:
  """A line of small text."""
  return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="11.5" fill="{colours.soft}">{escape(text)}</text>'


def lane(colours: Colours, y: float, height: float, title: str) -> str:
  """The ground of a stage, with its title."""
  return (
    f'<rect x="4" y="{y}" width="{WIDTH - 8}" height="{height}" rx="10" fill="{colours.lane}" '
    f'stroke="{colours.border}"/><text x="20" y="{y + 24}" font-weight="600" fill="{colours.ink}">{title}</text>'
  )


def figure(colours: Colours) -> str:
  """Both stages as an SVG."""
  one = 56  # top of the boxes of stage 1
  parts = [
    lane(colours, 4, 176, "Stage 1 · dVAE-Adv learns Memcodes from video (Fig. 1a)"),
    box(colours, 20, one, 104, 60, "data", ["frames", "256 × 224 × 3"]),
    box(colours, 156, one, 112, 60, "model", ["encoder", "models/dvae.py"]),
    box(colours, 300, one, 148, 60, "model", ["hard attention", "models/memcodes.py"]),
    box(colours, 480, one, 124, 60, "codes", ["Memcodes", "16 × 14 × 8 heads"]),
    box(colours, 632, one, 108, 60, "model", ["decoder", "models/dvae.py"]),
    box(colours, 768, one, 92, 60, "data", ["frames"]),
    arrow(colours, (124, one + 30), (154, one + 30)),
    arrow(colours, (268, one + 30), (298, one + 30)),
    arrow(colours, (448, one + 30), (478, one + 30), dashed=True),
    arrow(colours, (604, one + 30), (630, one + 30)),
    arrow(colours, (740, one + 30), (766, one + 30)),
    arrow(colours, (72, one + 60), (72, 148), (298, 148)),
    arrow(colours, (814, one + 60), (814, 148), (606, 148)),
    box(colours, 300, 128, 304, 42, "model", ["three critics", "reconstruction and realism · models/critics.py"]),
  ]
  two = 196  # top of stage 2
  rows = [two + 46, two + 118, two + 190]
  parts += [
    lane(colours, two, 268, "Stage 2 · a prior predicts Memcodes from speech (Fig. 1b); stage 1 is frozen"),
    box(colours, 20, rows[0], 128, 56, "data", ["speech", "log-mel, 80 bins"]),
    box(colours, 20, rows[1], 128, 56, "data", ["style", "drawn, or of a clip"]),
    box(colours, 20, rows[2], 128, 56, "data", ["episode", "looks and room"]),
    box(colours, 182, rows[0], 150, 56, "model", ["audio encoder", "models/conditioning.py"]),
    box(colours, 182, rows[1], 150, 56, "model", ["style encoder", "models/conditioning.py"]),
    box(colours, 182, rows[2], 150, 56, "model", ["embedding", "models/conditioning.py"]),
    *(arrow(colours, (148, y + 28), (180, y + 28)) for y in rows),
    box(colours, 388, rows[0], 170, 128, "model",
        ["decoder", "FAR: a frame a step", "MAR: a Memcode a step", "models/far.py, mar.py"]),
    arrow(colours, (332, rows[0] + 28), (386, rows[0] + 28)),
    arrow(colours, (332, rows[1] + 28), (386, rows[1] + 28)),
    arrow(colours, (332, rows[2] + 28), (430, rows[2] + 28), (430, rows[1] + 58)),
    box(colours, 606, rows[0] + 36, 122, 56, "codes", ["Memcodes", "16 × 14 × 8 heads"]),
    arrow(colours, (558, rows[0] + 64), (604, rows[0] + 64), dashed=True),
    arrow(colours, (667, rows[0] + 92), (667, rows[2] + 28), (510, rows[2] + 28), (510, rows[1] + 58)),
    caption(colours, 590, rows[2] + 20, "those before, cached"),
    box(colours, 764, rows[0] + 36, 96, 56, "model", ["decoder", "of stage 1"]),
    arrow(colours, (728, rows[0] + 64), (762, rows[0] + 64)),
    arrow(colours, (812, rows[0] + 92), (812, rows[2] - 2)),
    box(colours, 738, rows[2], 122, 56, "data", ["video", "with the sound"]),
  ]  # fmt: skip
  head = (
    f'<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    f'<path d="M0 0 L8 4 L0 8 z" fill="{colours.line}"/></marker></defs>'
  )
  return (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
    'aria-label="the two stages of NWT" font-family="-apple-system, Segoe UI, Helvetica, Arial, sans-serif" '
    f'font-size="14">{head}{"".join(parts)}</svg>\n'
  )


def main(folder: str) -> None:
  """Writes a file for each theme."""
  for name, colours in THEMES.items():
    (Path(folder) / f"architecture-{name}.svg").write_text(figure(colours), encoding="utf-8")


if __name__ == "__main__":
  main(*sys.argv[1:])
