"""The forms that are timed against each other give the same, and a ratio above 1 says that ours is faster."""

import functools
import itertools
import json

import jax
import jax.numpy as jnp
import pytest

from benchmarks import forms, layers, timing

NAMES = [(layer.name, kind) for layer in layers.layers("tiny") for kind in layer.ways]


@functools.cache
def exact_layers():
  return {layer.name: layer for layer in layers.layers("tiny", jnp.float64)}


@pytest.mark.parametrize(("name", "kind"), NAMES, ids=map(", ".join, NAMES))
def test_all_forms_of_a_layer_are_equal(name, kind):
  with jax.enable_x64(True):
    layer = exact_layers()[name]
    ours, *others = (jax.jit(layers.way(layer, form, kind))(*layer.given(form)) for form in layer.forms)
    assert others and all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(ours))
    for other in others:
      assert jax.tree.map(jnp.shape, other) == jax.tree.map(jnp.shape, ours)
      assert forms.difference(ours, other) < 1e-12


def test_a_ratio_above_1_says_that_ours_is_faster(monkeypatch):
  layer = layers.Layer("product", {"ours": lambda x, y: x * y, "slow": lambda x, y: x * y + 0.5}, (jnp.ones(3),) * 2)
  monkeypatch.setattr(timing, "once", lambda run, calls=1: 1.0 if run()[0] == 1 else 3.0)
  (row,) = forms.compare(layer, layers.FORWARD, seconds=0.0)
  assert (row["ours"], row["other"], row["difference"]) == ("ours", "slow", 0.5)
  assert row["ratio"] == {"median": 3.0, "low": 3.0, "high": 3.0, "rounds": 5}


def test_turns_rotate_and_every_way_has_one_in_each_round(monkeypatch):
  order = []
  monkeypatch.setattr(timing, "once", lambda run, calls=1: order.append(run()) or 1.0)
  rounds = timing.take_turns({"a": lambda: "a", "b": lambda: "b", "c": lambda: "c"}, 0.0, least=3, warm=1)
  assert "".join(order) == "abc" + "abc" + "bca" + "cab" and all(sorted(turn) == ["a", "b", "c"] for turn in rounds)


def test_spread_is_median_and_quartiles():
  assert timing.spread([4.0, 1.0, 2.0, 3.0, 5.0]) == {"median": 3.0, "low": 2.0, "high": 4.0, "rounds": 5}


def test_recorded_rows_are_todays():
  """The file that was measured last names every comparison of today."""
  recorded = json.loads(forms.RESULTS.read_text())
  rows = [(row["layer"], row["way"], row["ours"], row["other"]) for row in recorded["rows"]]
  today = [
    (layer.name, kind, *pair)
    for layer in layers.layers(recorded["size"])
    for kind in layer.ways
    for pair in itertools.product(list(layer.forms)[:1], list(layer.forms)[1:])
  ]
  assert rows == today, "measure again: python -m benchmarks.forms --json=benchmarks/results/forms.json"
  assert all(row["difference"] < 1e-4 for row in recorded["rows"])
