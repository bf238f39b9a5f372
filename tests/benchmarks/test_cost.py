"""The cost at full size: the recorded figures are today's configs', the page holds them, and the counting counts."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.xla import cost
from nwt_jax.train.runtime import sharding
from nwt_jax.train.stages import abstract

RESULTS = json.loads(cost.RESULTS.read_text())


def test_page_holds_the_recorded_figures():
  text = cost.PAGE.read_text()
  assert cost.with_tables(text, RESULTS) == text, "write it anew with `python -m benchmarks.xla.cost render`"


@pytest.mark.parametrize("name", cost.CONFIGS)
def test_recorded_sizes_are_todays(name):
  config, entry = cost.read(name), RESULTS["configs"][name]
  state, _ = abstract.update(config)
  assert entry["parameters"] == cost.parameters(state), "the config has changed since `make cost`"
  assert entry["state_bytes"] == cost.state_bytes(state, 1)
  assert entry["state_bytes_shared"] == cost.state_bytes(state, cost.HOST)
  assert (entry["batch"], entry["frames"]) == (config.data.batch_size, config.data.frames)
  assert list(entry["plans"]) == list(entry["largest"]) == list(cost.VARIATIONS)


def test_no_recorded_plan_computes_things_twice_by_itself():
  every = [plan for entry in RESULTS["configs"].values() for plans in entry["plans"].values() for plan in plans]
  assert not any(plan["rematerialised"] for plan in every)


def test_state_on_a_device_is_what_its_shards_take():
  shapes, _ = abstract.update(cost.read("mar:tiny"))
  mesh = sharding.make_mesh(fsdp=4)
  state = sharding.shard_state(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes), mesh)
  shards = [x.addressable_shards[0].data for x in jax.tree.leaves(state)]
  assert cost.state_bytes(shapes, 4) == sum(x.size * x.dtype.itemsize for x in shards)
  assert cost.state_bytes(shapes, 4) < cost.state_bytes(shapes, 1)


@pytest.mark.parametrize("name", ["dvae_lwt:tiny", "far:tiny", "mar:tiny"])
def test_flops_grow_linearly_with_the_batch(name):
  one, two, three = (cost.flops(cost.read(name), clips) for clips in (8, 16, 24))  # fewer have other forms
  assert three - two == pytest.approx(two - one, rel=1e-3)


def test_a_convolution_counts_as_its_multiply_adds():
  def conv(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

  lowered = jax.jit(conv).lower(jnp.zeros((2, 9, 8, 3)), jnp.zeros((4, 4, 3, 5)))
  products = 2 * (9 - 3) * (8 - 3) * 4 * 4 * 3 * 5
  assert lowered.cost_analysis()["flops"] == lowered.compile().cost_analysis()["flops"] == 2 * products


def test_largest_batch_is_found_on_a_line():
  plans = [{"clips": n, "held": 5, "temporary": 10 * n} for n in (1, 2)]

  def total(clips):
    plans.append({"clips": clips, "held": 5, "temporary": 10 * clips})
    plans.sort(key=lambda p: p["clips"])
    return 5 + 10 * clips

  assert cost.largest(total, plans, 78) == 7
  assert [p["clips"] for p in plans] == [1, 2, 7], "one compilation is enough"
  assert cost.largest(total, plans[:2], 12) == 0
