"""The forms in which training computes its layers, each against other forms of the same layer, on this backend.

  python -m benchmarks.forms --json=benchmarks/results/forms.json
  python -m benchmarks.forms --json=FILE --size=paper --dtype=bfloat16  # on a card

The forms of a layer (benchmarks/layers.py) take turns, in an order that rotates. A row's ratio is the median over the
rounds of the other form's time by ours in the same round: above 1 ours is faster. Beside it are the quartiles, and how
far the other form's result is from ours.
"""

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import timing
from benchmarks.layers import SIZES, Layer, layers, way
from nwt_jax import cli

RESULTS = Path(__file__).resolve().parent / "results" / "forms.json"


def define_flags() -> None:
  """Defines this program's options; in a function, so that others can import the file beside their own."""
  flags.DEFINE_string("json", None, "JSON file to write.")
  flags.DEFINE_enum("size", "small", list(SIZES), "Sizes of the layers.")
  flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Type of inputs and parameters.")
  flags.DEFINE_float("seconds", 2.5, "How long each row is timed, at least five rounds.", lower_bound=0.0)


def difference(ours: Any, other: Any) -> float:
  """The largest difference between two trees of arrays, as a share of the largest number in ours."""
  pairs = [
    (np.asarray(a, np.float64), np.asarray(b, np.float64))
    for a, b in zip(*map(jax.tree.leaves, (ours, other)), strict=True)
  ]
  return max(np.abs(a - b).max() for a, b in pairs) / max(np.abs(a).max() for a, _ in pairs)


def compare(layer: Layer, kind: str, seconds: float) -> list[dict]:
  """One row for each other form of a layer."""
  ways = {form: functools.partial(jax.jit(way(layer, form, kind)), *layer.given(form)) for form in layer.forms}
  results = {form: run() for form, run in ways.items()}
  rounds = timing.take_turns(ways, seconds, warm=1)
  ours, *others = ways
  return [
    {
      "layer": layer.name,
      "way": kind,
      "ours": ours,
      "other": other,
      "difference": difference(results[ours], results[other]),
      "ratio": timing.ratio(rounds, other, ours),
    }
    for other in others
  ]


def measure(size: str, dtype: str, seconds: float) -> dict:
  """All rows, with what they were measured on; prints each as it comes."""
  rows = []
  for layer in layers(size, jnp.dtype(dtype)):
    for kind in layer.ways:
      for row in compare(layer, kind, seconds):
        found = "{median:.2f} ({low:.2f} to {high:.2f})".format(**row["ratio"])
        print(f"{row['layer']}, {row['way']}: {found} x {row['other']}, difference {row['difference']:.0e}", flush=True)
        rows.append(row)
  return {"machine": timing.machine(), "size": size, "dtype": dtype, "rows": rows}


def main(_) -> None:
  path = timing.writable(flags.FLAGS.json)
  path.write_text(json.dumps(measure(flags.FLAGS.size, flags.FLAGS.dtype, flags.FLAGS.seconds), indent=1) + "\n")


if __name__ == "__main__":
  define_flags()
  cli.run(main, "json")
