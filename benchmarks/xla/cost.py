"""What one update of each paper configuration costs at full size: compiled for an H100, with no H100 (Table 3, C.2).

  make cost                                    # measures what is not in results/cost.json yet, writes docs/cost.md
  .venv/bin/python -m benchmarks.xla.cost render   # writes the tables of docs/cost.md anew, from results/cost.json

Nothing is allocated and nothing runs. FLOPs are XLA's count on the program as lowered, before any optimisation.
Memory is what XLA's compiler for the GPU plans, of the program that one device runs at its share of the batch.
"""

import datetime
import hashlib
import importlib
import importlib.metadata
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import AbstractMesh, AxisType, SingleDeviceSharding

from nwt_jax.train.runtime import sharding
from nwt_jax.train.stages import abstract

HERE = Path(__file__).resolve().parent
RESULTS, TARGET = HERE.parent / "results" / "cost.json", HERE / "h100.textproto"
PAGE = HERE.parents[1] / "docs" / "cost.md"

CONFIGS = {"dvae_lwt": "dVAE-Adv", "dvae_lwt:mem8": "dVAE-Adv, Mem8", "far": "FAR", "mar": "MAR"}
PAPER, REMAT = "TF32", "bfloat16, remat"
VARIATIONS: dict[str, dict] = {  # of `config.train`
  PAPER: {"precision": "tensorfloat32"},
  "bfloat16": {"precision": "bfloat16"},
  REMAT: {"precision": "bfloat16", "remat": True},
}
DEVICES = (1, 8, 16, 64)
COMPILED = {
  "dvae": (1, 2),
  "far": (1, 64),
  "mar": (1, 8, 64),
}  # clips; others are on the line through the nearest two
HOST = 8  # devices that share one copy of the state where it is cut (config.train.fsdp)
MARKS = ("<!-- tables: benchmarks/xla/cost.py -->", "<!-- end of tables -->")  # of docs/cost.md
PAPER_DEVICES = {"dvae": "16 A100 40 GB", "far": "8 A100", "mar": "8 A100"}  # 3.2, C.2
BUDGET = 75e9  # bytes of a card of 80 GB that a program may plan with


def read(name: str, setting: dict | None = None) -> Any:
  """A config by its name, `module:argument`."""
  module, _, argument = name.partition(":")
  config = importlib.import_module(f"nwt_jax.configs.{module}").get_config(argument)
  config.train.update(setting or {})
  return config


def size(tree: Any) -> int:
  """Numbers in a tree of arrays or shapes."""
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def state_bytes(state: Any, shared: int) -> int:
  """Of a state on one device, where `shared` devices share one copy (config.train.fsdp); none has to be there."""
  mesh = AbstractMesh((1, shared), (sharding.DATA, sharding.FSDP), axis_types=(AxisType.Auto, AxisType.Auto))
  return sharding.bytes_per_device(state, mesh)


def parameters(state: Any) -> dict[str, int]:
  """Trained numbers of each network in a state."""
  return {name: size(getattr(state, name)) for name in ("gen", "critic", "prior") if hasattr(state, name)}


def share(batch: int, devices: int) -> int:
  """Clips a device: at least one, so that there are batches of at least as many clips as devices."""
  return max(batch // devices, 1)


def by_hand(state: Any, config: Any) -> int:
  """FLOPs of MAR's update without a compiler: six a weight and place where it is used (forward, and both gradients)."""
  params, frames = state.prior["params"], config.data.frames
  rows, columns = config.model.grid
  decoder = rows * columns * frames
  places = {
    "residual": decoder,
    "linears": decoder,
    "logits": decoder,
    "audio_encoder": frames,
    "audio_upsampler": frames,  # a tower has weights of its own for every place
    "style_upsampler": 1,
    "style_encoder": frames * (rows // 2) * (columns // 2),
  }
  weights = {name: size([x for x in jax.tree.leaves(module) if x.ndim > 1]) for name, module in params.items()}
  used = sum(n * places.get(name.split("_")[0], places.get(name, 0)) for name, n in weights.items())
  return 6 * config.data.batch_size * used


def flops(config: Any, clips: int) -> int:
  """Of one update, counted by XLA on the program as lowered: a multiply-add is two; no loops but accumulation's."""
  state, step = abstract.update(config)
  return int(jax.jit(step).lower(state, abstract.batch(config, clips)).cost_analysis()["flops"])


def h100(target: str | None = None) -> SingleDeviceSharding:
  """The device that is not there, and everything on it. Args: target: its description, None: the one in TARGET."""
  text = TARGET.read_text() if target is None else target
  topology = topologies.get_topology_desc(platform="cuda", target_config=text, topology="1x1x1")
  return SingleDeviceSharding(topology.devices[0])


def plan(config: Any, clips: int, known: list[dict]) -> dict:
  """What the compiler plans for one device's update. Args: known: plans of before; the same program is among them once.

  Returns: bytes, seconds, and `rematerialised`: instructions that XLA chose by itself to compute twice to save memory.
  """
  state, step = abstract.update(config)
  there = h100()
  jitted = jax.jit(step, donate_argnums=0, in_shardings=(there, there), out_shardings=(there, there))
  lowered = jitted.lower(state, abstract.batch(config, clips))
  program = hashlib.sha256((lowered.as_text() + TARGET.read_text() + jax.lib.__version__).encode()).hexdigest()[:16]
  for before in known:
    if before["program"] == program:
      return before
  start = time.monotonic(), time.process_time()
  compiled = lowered.compile()
  memory = compiled.memory_analysis()
  held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
  return {
    "clips": clips,
    "held": held,
    "temporary": memory.temp_size_in_bytes,
    "rematerialised": compiled.as_text().count(".remat"),
    "compile_seconds": round(time.monotonic() - start[0], 1),
    "compile_cpu_seconds": round(time.process_time() - start[1], 1),
    "program": program,
  }


def needs(found: dict) -> int:
  return found["held"] + found["temporary"]


def line(plans: list[dict], clips: int) -> float:
  """Bytes for so many clips, on a straight line; `plans` sorted by clips.

  Among what is compiled it goes through the nearest two, beyond that through the smallest and the largest."""
  outside = clips > plans[-1]["clips"]
  near = [plans[0], plans[-1]] if outside else sorted(plans, key=lambda p: abs(p["clips"] - clips))[:2]
  few, many = sorted(near, key=lambda p: p["clips"])
  slope = (needs(many) - needs(few)) / (many["clips"] - few["clips"])
  return needs(many) + slope * (clips - many["clips"])


def largest(total: Callable[[int], int], plans: list[dict], budget: float) -> int:
  """The most clips within the budget, as compiled; of one more the line through what is compiled says no.

  Args: total: clips -> bytes; it compiles, and adds to `plans`, which has two or more.
  """
  while True:
    most = max((p["clips"] for p in plans if needs(p) <= budget), default=0)
    too_many = min((p["clips"] for p in plans if needs(p) > budget), default=math.inf)
    guess = most
    while guess + 1 < too_many and line(plans, guess + 1) <= budget:
      guess += 1
    if guess == most:
      return most
    total(guess)


def planner(config: Any, known: list[dict], plans: list[dict], done: Callable[[dict], None]) -> Callable[[int], int]:
  """Builds clips -> bytes: compiles what `known` has not, and collects in `plans`, sorted by clips."""

  def total(clips: int) -> int:
    found = next((p for p in plans if p["clips"] == clips), None)
    if found is None:
      found = plan(config, clips, known)
      plans.append(found)
      plans.sort(key=lambda p: p["clips"])
      done(found)
    return needs(found)

  return total


def measure(results: dict, names: list[str], save: Callable[[], None]) -> None:
  """Fills in the entries `names` of `results`; a program that was compiled before is not compiled again."""
  for name in names:
    config = read(name)
    state, _ = abstract.update(config)
    entry = results["configs"].setdefault(name, {"plans": {}, "largest": {}})
    entry |= {
      "family": config.family,
      "parameters": parameters(state),
      "state_bytes": state_bytes(state, 1),
      "state_bytes_shared": state_bytes(state, HOST),
      "batch": config.data.batch_size,
      "frames": config.data.frames,
      "flops": {setting: flops(read(name, fields), config.data.batch_size) for setting, fields in VARIATIONS.items()},
    }
    if name == "mar":
      entry["flops_by_hand"] = by_hand(state, config)
    for setting, fields in VARIATIONS.items():
      known, plans = entry["plans"].setdefault(setting, []), []

      def done(found: dict, known=known, label=f"{name}, {setting}") -> None:
        known[:] = [p for p in known if p["clips"] != found["clips"]] + [found]
        print(label, found, flush=True)
        save()

      total = planner(read(name, fields), known, plans, done)
      for clips in COMPILED[config.family]:
        if len(plans) < 2 or line(plans, clips) <= BUDGET:  # beyond a card XLA plans to compute things twice
          total(clips)
      entry["largest"][setting] = largest(total, plans, BUDGET)
      entry["plans"][setting] = plans
      save()


def update_table(entries: dict) -> list[str]:
  """What an update computes and what a state takes."""
  rows = ["| | parameters, M | clips x frames | FLOPs, T | with remat | state, GB | shared by 8 | paper |"]
  rows += ["| --- " * 8 + "|"]
  for name, entry in entries.items():
    counts = " + ".join(f"{count / 1e6:.3f}" for count in entry["parameters"].values())
    work = [f"{entry['flops'][setting] / 1e12:.0f}" for setting in (PAPER, REMAT)]
    state = [f"{entry[key] / 1e9:.2f}" for key in ("state_bytes", "state_bytes_shared")]
    cells = [counts, f"{entry['batch']} x {entry['frames']}", *work, *state, PAPER_DEVICES[entry["family"]]]
    rows.append(f"| {CONFIGS[name]} | {' | '.join(cells)} |")
  return rows


def memory_table(entries: dict) -> list[str]:
  """What one device needs, by the number of devices; what fits is bold."""
  heads = [f"{n} device{'s' if n > 1 else ''}" for n in DEVICES]
  rows = [
    f"| GB a device (clips) | {' | '.join(heads)} | most clips on one card |",
    "| --- " * (2 + len(DEVICES)) + "|",
  ]
  for name, entry in entries.items():
    for setting, plans in entry["plans"].items():
      cells = []
      for clips in (share(entry["batch"], devices) for devices in DEVICES):
        compiled, need = any(p["clips"] == clips for p in plans), line(plans, clips)
        text = f"{'' if compiled else 'about '}{need / 1e9:.1f}"
        cells.append(f"{f'**{text}**' if need <= BUDGET else text} ({clips})")
      rows.append(f"| {CONFIGS[name]}, {setting} | {' | '.join([*cells, str(entry['largest'][setting])])} |")
  return rows


def remarks(results: dict) -> list[str]:
  """How the figures came about."""
  every = [plans for entry in results["configs"].values() for plans in entry["plans"].values()]
  bends = [abs(line([p[0], p[-1]], m["clips"]) / needs(m) - 1) for p in every for m in p[1:-1]]
  seconds = [p["compile_cpu_seconds"] for plans in every for p in plans]
  mar = results["configs"]["mar"]
  hand, counted, budget = mar["flops_by_hand"] / 1e12, mar["flops"][PAPER] / 1e12, results["budget_bytes"] / 1e9
  versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
  return [
    f"A card's budget is {budget:.0f} GB. Batches between the smallest and the largest compiled one are off the line",
    f"through those two by {max(bends):.1%} at most. FLOPs of MAR: {hand:.1f} T by hand (six a weight and place),",
    f"{counted:.1f} T by XLA. {len(seconds)} programs, each compiled in {min(seconds):.0f} to {max(seconds):.0f} s of",
    f"processor time; all of them are the programs of {results['date']} with {versions}.",
  ]


def tables(results: dict) -> str:
  """What stands between the marks of docs/cost.md: every figure from `results`."""
  entries = {name: results["configs"][name] for name in CONFIGS if name in results["configs"]}
  return "\n".join([*update_table(entries), "", *memory_table(entries), "", *remarks(results)])


def with_tables(page: str, results: dict) -> str:
  """A page with what stands between its two marks written anew."""
  before, _, rest = page.partition(MARKS[0])
  _, _, after = rest.partition(MARKS[1])
  return f"{before}{MARKS[0]}\n\n{tables(results)}\n\n{MARKS[1]}{after}"


def main(arguments: list[str]) -> None:
  results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"configs": {}}

  def save():
    partial = RESULTS.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n")
    partial.replace(RESULTS)

  if arguments != ["render"]:
    packages = ("jax", "jaxlib", "flax", "optax", "jax-cuda13-plugin")
    results["versions"] = {name: importlib.metadata.version(name) for name in packages}
    results["date"] = datetime.date.today().isoformat()
    results["budget_bytes"] = BUDGET
    measure(results, arguments or list(CONFIGS), save)
  PAGE.write_text(with_tables(PAGE.read_text(), results))


if __name__ == "__main__":
  main(sys.argv[1:])
