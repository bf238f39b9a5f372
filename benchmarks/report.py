"""Writes the plot and the three tables of docs/speed.md, and all tables into benchmarks/results/README.md.

  python -m benchmarks.report

Every figure comes from the JSON files of benchmarks/results, which name the machine and the versions behind them.
"""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results", HERE.parent / "docs" / "speed.md"
ALL = RESULTS / "README.md"
PLOT = HERE.parent / "docs" / "figures" / "speed.svg"
MARKS = ("<!-- tables: begin -->", "<!-- tables: end -->")
REAL_TIME = 1e6 / 30  # microseconds a frame
POSITIONS = {"full": 16 * 14, "demo": 8 * 7}  # Memcodes a frame
SIZES = {"full": "the paper's size", "demo": "the shipped size"}
WAYS = {"plain": "plain scan, linear cache", "slots": "plain scan, slots", "in turn, taps early": "early taps"}
HEADER = """# All measurements of sampling and training speed

`python -m benchmarks.report` writes this page from the JSON files beside it; [docs/speed.md](../../docs/speed.md) says
what they mean and names the commands that make them. A ratio is the median over rounds in which the ways took turns in
one process, with its quartiles.
"""


def read(name: str) -> dict | None:
  path = RESULTS / f"{name}.json"
  return json.loads(path.read_text()) if path.exists() else None


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
  heads = list(heads)
  lines = [heads, ["---"] * len(heads), *rows]
  return [f"| {' | '.join(cells)} |" for cells in lines] + [""]


def spread(found: dict, digits: int = 2) -> str:
  return f"{found['median']:.{digits}f} ({found['low']:.{digits}f} to {found['high']:.{digits}f})"


def where(found: dict) -> str:
  machine = found["machine"]
  versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
  return f"{machine['device']}, {machine['cores']} cores of {machine['processor']}; {versions}; {machine['date']}."


def words_of(way: str) -> str:
  """A way to sample as a reader of the field calls it: sequential, or Jacobi iterations over tiles of positions."""
  way = way.replace("in turn", "sequential").replace("taps early", "early taps")
  return re.sub(r"^(\d+) together", r"Jacobi, tiles of \1", way)


def early(cpu: dict) -> list[str]:
  rows = []
  for size, found in ((size, cpu["early"][size]) for size in SIZES if size in cpu["early"]):
    best = min(found["ratios"], key=lambda name: found["ratios"][name]["median"])
    for name, words in WAYS.items():
      took, ratio = found["microseconds a Memcode"][name], found["ratios"].get(name)
      limit = f"{found['limit']:.0f}" if size == "full" else "in the cache"
      cells = [f"{words}{' (the fastest other)' if name == best else ''}", spread(took, 0), limit]
      rows.append([SIZES[size], *cells, spread(ratio) if ratio else "1", f"{found['equal'][name]:.3f}"])
  heads = ["", "way", "us a Memcode", "limit", "times ours", "equal codes"]
  return [f"Sequential sampling, batch 1, float32. {where(cpu['early'])}", "", *table(heads, rows)]


def together(names: dict[str, dict], best_alone: bool = False) -> list[str]:
  """Several Memcodes from a guess. Args: best_alone: of each model and temperature the fastest way, not all of them."""
  rows = []
  for words, found in names.items():
    for temperature, ways in found["together"].items():
      if not temperature.startswith("temperature"):
        continue
      best = min(ways, key=lambda name: ways[name]["microseconds a Memcode"]["median"])
      for name, entry in ways.items():
        if best_alone and name != best:
          continue
        cells = [f"{entry['accepted an evaluation']:.2f}", spread(entry["microseconds a Memcode"], 1)]
        rows.append([words, temperature, words_of(name), *cells, spread(entry["ratio"]), f"{entry['equal']:.3f}"])
  which = "fastest way" if best_alone else "way"
  heads = ["model", "", which, "Memcodes an evaluation", "us a Memcode", "sequential / this", "equal codes"]
  return ["Several Memcodes from a guess, trained models of the shipped size.", "", *table(heads, rows)]


def guesses(names: dict[str, dict]) -> list[str]:
  rows = []
  for words, found in names.items():
    for source, entry in found.get("guesses", {}).items():
      if source != "machine":
        rows.append([words, source, *(f"{entry[key]:.2f}" for key in ("codes right", "8 together", "56 together"))])
  heads = ["model", "guess", "codes right", "Memcodes an evaluation, tiles of 8", "tiles of 56"]
  return ["Where guesses come from.", "", *table(heads, rows)]


def cache(cpu: dict) -> list[str]:
  heads = ["frames before", "one Memcode with no cache / with one"]
  rows = [[frames, spread(ratio, 0)] for frames, ratio in cpu["cache"].items() if frames.isdigit()]
  return ["What the cache saves grows with the clip, shipped size:", "", *table(heads, rows)]


def curve(cpu: dict) -> list[str]:
  found = cpu["curve"]
  marks = found["milliseconds a frame at"]
  rows = [[at, spread(t, 2), spread(t["of the last"], 3), f"{t['MiB']:.0f}"] for at, t in marks.items()]
  text = f"From sound to pixels with the shipped MAR, {found['frames']} frames of one clip at "
  text += f"{found['frames a second']:.0f} frames a second. The four seconds after each mark, in turns; "
  text += where(found)
  return [text, "", *table(["after", "ms a frame", f"of those after {list(marks)[-1]}", "MiB held at most"], rows)]


def torch(cpu: dict, sampling_alone: bool = False) -> list[str]:
  found, sampling, training = cpu.get("torch", {}), [], []
  for size, entry in ((size, found[size]) for size in SIZES if size in found):
    for name, ratio in entry["ratios"].items():
      sampling.append([SIZES[size], name, spread(ratio), f"{entry['equal'][name]:.4f}"])
    for name, ratio in entry["training"]["ratios"].items():
      training.append([SIZES[size], name, spread(ratio)])
    version = entry["version"]
  if not sampling:
    return []
  text = f"PyTorch {version} sampling from MAR with the same weights and noise, in the same process; ours sequential, "
  heads = ["", "PyTorch's way", "its time / ours"]
  sampled = [
    f"{text}as random weights make no good guesses; {where(found)} OpenMP's threads sleep while they wait, which is "
    "dear for the compiled way with two of them; with OMP_WAIT_POLICY=ACTIVE they spin, and take the cores from JAX.",
    "",
    *table([*heads, "equal codes"], sampling),
  ]
  if sampling_alone:
    return sampled
  return [*sampled, "An update of MAR's decoder (forward, backward, Adam):", "", *table(heads, training)]


def equality(found: dict) -> list[str]:
  rows = []
  for name, entries in found["differences"].items():
    gaps = ", ".join(f"{entry['gap']:.1e}" for entry in entries) or "none"
    rows.append([words_of(name), str(len(entries)), gaps])
  rough = found["bfloat16"]
  heads = ["way, against the plain scan", "clips that part", "gaps there, nats"]
  text = (
    f"{found['clips']} clips of {found['seconds']:.0f} s, {found['codes'] / 1e6:.2f} M codes, shipped MAR, float32:"
  )
  remark = (
    f"In bfloat16, after the same prefixes, {rough['share of codes that differ']:.2%} of the codes come out otherwise. "
  )
  remark += f"Their two best scores lie {rough['median gap where they differ']:.3f} nats apart in the middle "
  remark += (
    f"(nine of ten under {rough['90 % of them below']:.2f}), against {rough['median gap of all']:.1f} of all codes: "
  )
  return [text, "", *table(heads, rows), remark + "rounding turns what nearly ties.", ""]


def gates(found: dict) -> list[str]:
  from benchmarks.xla.gates import GATES

  rows = []
  for key, value in found.items():
    gate = " ".join(map(str, GATES[key])) if key in GATES else ""
    rows.append([f"`{key}`", f"{value:.2f}" if isinstance(value, float) else str(value), gate])
  return ["What XLA makes of the programs for an H100 (`make gates`):", "", *table(["", "", "gate"], rows)]


def forms(found: dict) -> list[str]:
  rows = [
    [row["layer"], row["way"], row["other"], spread(row["ratio"]), f"{row['difference']:.0e}"] for row in found["rows"]
  ]
  heads = ["layer", "", "other form", "its time / ours", "largest difference"]
  return [f"Forms of layers in training. {where(found)}", "", *table(heads, rows)]


def plot(cpu: dict, width: int = 760, height: int = 400) -> str:
  """Microseconds a Memcode by stage on a logarithmic scale, with real time and the time to read the weights."""
  left, right, top, bottom = 70, 20, 24, 92
  series = {}
  for size, colour in (("full", "#b33"), ("demo", "#27a")):
    found = cpu["early"].get(size)
    if found:
      points = [(words, found["microseconds a Memcode"][name]) for name, words in WAYS.items()]
      series[size] = (colour, points, found["limit"])
  shipped = next(v for k, v in cpu["together"].items() if k.startswith("temperature"))
  best = min(shipped, key=lambda name: shipped[name]["microseconds a Memcode"]["median"])
  series["demo"][1].append((f"{words_of(best)}, trained", shipped[best]["microseconds a Memcode"]))
  stages = list(dict.fromkeys(name for _, points, _ in series.values() for name, _ in points))
  values = [t[key] for _, points, _ in series.values() for _, t in points for key in ("low", "high")]
  lows = [series["full"][2], *(REAL_TIME / n for n in POSITIONS.values())]
  low, high = math.log10(min(values + lows)) - 0.15, math.log10(max(values + lows)) + 0.15
  x = lambda stage: left + (width - left - right) * (stages.index(stage) + 0.5) / len(stages)
  y = lambda value: top + (height - top - bottom) * (high - math.log10(value)) / (high - low)
  lines = []
  for power in range(math.ceil(low), math.floor(high) + 1):
    lines.append(
      f'<line x1="{left}" x2="{width - right}" y1="{y(10**power):.1f}" y2="{y(10**power):.1f}" stroke="#ddd"/>'
    )
    lines.append(f'<text x="{left - 8}" y="{y(10**power) + 4:.1f}" text-anchor="end">{10**power:,}</text>')
  for stage in stages:
    lines.append(f'<text x="{x(stage):.1f}" y="{height - bottom + 20}" text-anchor="middle">{stage}</text>')
  for number, (size, (colour, points, limit)) in enumerate(series.items()):
    marks = [(REAL_TIME / POSITIONS[size], "7 4", "real time")]
    if size == "full":  # the small model's weights stay in the cache
      marks.append((limit, "2 3", "reading the weights from memory"))
    for value, dash, words in marks:
      lines.append(
        f'<line x1="{left}" x2="{width - right}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="{colour}" '
        f'stroke-dasharray="{dash}"/><text x="{left + 4}" y="{y(value) - 4:.1f}" '
        f'fill="{colour}" font-size="11">{words}, {SIZES[size]}: {value:.0f} us</text>'
      )
    for name, took in points:
      ends = f'y1="{y(took["low"]):.1f}" y2="{y(took["high"]):.1f}"'
      lines.append(f'<line x1="{x(name):.1f}" x2="{x(name):.1f}" {ends} stroke="{colour}" stroke-width="2"/>')
      lines.append(f'<circle cx="{x(name):.1f}" cy="{y(took["median"]):.1f}" r="4" fill="{colour}"/>')
      lines.append(f'<text x="{x(name) + 9:.1f}" y="{y(took["median"]) + 4:.1f}">{took["median"]:,.0f}</text>')
    lines.append(
      f'<circle cx="{left + 6 + 200 * number}" cy="{height - 28}" r="4" fill="{colour}"/>'
      f'<text x="{left + 16 + 200 * number}" y="{height - 24}">{SIZES[size]}</text>'
    )
  title = f"microseconds a Memcode, batch 1, float32, {cpu['early']['machine']['cores']} CPU cores"
  return (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
    f'<rect width="{width}" height="{height}" fill="white"/><text x="{left}" y="16">{title}</text>'
    f"{''.join(lines)}</svg>\n"
  )


def models() -> dict[str, dict]:
  """The measured models of the shipped size, by name."""
  real = read("cpu_real")
  return {"talker": read("cpu")} | ({"real speaker": real} if real else {})


def tables() -> str:
  """The three tables of docs/speed.md."""
  cpu = read("cpu")
  return "\n".join([*early(cpu), *together(models(), best_alone=True), *torch(cpu, sampling_alone=True)]).rstrip()


def every_table() -> str:
  """benchmarks/results/README.md."""
  cpu = read("cpu")
  parts = [*early(cpu), *together(models()), *guesses(models()), *cache(cpu), *curve(cpu), *torch(cpu)]
  parts += [*equality(read("equality")), *gates(read("gates")), *forms(read("forms"))]
  return "\n".join([HEADER, *parts]).rstrip() + "\n"


def with_tables(page: str) -> str:
  """The text of docs/speed.md with the tables of today between its marks."""
  before, _, rest = page.partition(MARKS[0])
  _, _, after = rest.partition(MARKS[1])
  return f"{before}{MARKS[0]}\n\n{tables()}\n\n{MARKS[1]}{after}"


if __name__ == "__main__":
  PAGE.write_text(with_tables(PAGE.read_text()))
  ALL.write_text(every_table())
  PLOT.write_text(plot(read("cpu")))
