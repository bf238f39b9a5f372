"""The speed pages hold the recorded figures, and the benchmarks behind it run and can say no."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from benchmarks import baselines, equality, models, report
from benchmarks.xla import gates
from nwt_jax.api import NWT
from nwt_jax.generate import mar
from tests.conftest import ROOT
from tests.priors import jit


def test_pages_and_plot_hold_the_recorded_figures():
  text = report.PAGE.read_text()
  assert report.with_tables(text) == text, "write it anew with `python -m benchmarks.report`"
  assert report.ALL.read_text() == report.every_table()
  assert report.plot(report.read("cpu")) == report.PLOT.read_text()


def test_recorded_gates_hold_and_recorded_samples_part_at_near_ties_alone():
  assert gates.failed_gates(report.read("gates"), gates.GATES) == []
  found = report.read("equality")
  assert found["clips"] == 10 and found["seconds"] == 10 and len(found["differences"]) >= 6
  assert found["all near-ties"] and all(e["gap"] < equality.TIE for es in found["differences"].values() for e in es)


def test_the_recorded_cost_curve_is_flat():
  """Within five per cent, from one second to ten minutes, in time and in memory."""
  marks = report.read("cpu")["curve"]["milliseconds a frame at"]
  assert list(marks) == ["1 s", "10 s", "60 s", "180 s", "600 s"]
  for entry in marks.values():
    assert entry["of the last"]["median"] == pytest.approx(1, abs=0.05)
    assert entry["MiB"] == pytest.approx(marks["600 s"]["MiB"], rel=0.05)


def test_what_a_memcode_reads_is_what_the_paper_size_has():
  """Of 55.4 M weights of the decoder a plain step reads all, one with taps early about half (computed by hand)."""
  full = models.model("mar", "")
  every, half = (models.read_a_memcode(full, most, np.float32) / 4e6 for most in (1, 8))
  assert every == pytest.approx(57, rel=0.05) and half == pytest.approx(32, rel=0.1)


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_a_baseline_draws_what_we_draw(name):
  model = models.model("mar", "tiny")
  params, inputs = models.parameters(model), models.batch(model, 3, 1)
  cond = model.apply(params, *models.conditions(inputs), method="condition")
  start, step = baselines.BASELINES[name]
  keys = jax.random.split(jax.random.key(0), 1)
  theirs, _ = jit(lambda *args: step(model, *args))(params, start(model, 1), cond, keys, 0, np.float32(1))
  weights = jit(lambda p: mar.fold(model, p))(params)
  ours, _ = jit(lambda *args: mar.sample_chunk(model, *args))(
    weights, mar.init_state(model, 1), cond, keys, 0, np.float32(1)
  )
  np.testing.assert_array_equal(ours, theirs)
  alone = baselines.naive(model, params, ours, cond, keys, 1, 5, np.float32(1))
  np.testing.assert_array_equal(alone[0], np.asarray(ours)[0, 1].reshape(-1, model.num_heads)[5])


def test_a_first_difference_is_the_first_in_the_order_of_drawing():
  codes = np.zeros((2, 3, 4, 2), np.uint8)
  other = codes.copy()
  assert equality.first_difference(codes, other) is None
  other[1, 0, 2, 1], other[1, 2, 0, 0] = 1, 1
  assert equality.first_difference(codes, other) == (1, 0, 2, 1)


@pytest.mark.slow
def test_ten_clips_of_ten_seconds_part_at_near_ties_alone():
  found = equality.compare(equality.Clips(NWT.from_checkpoint(), str(equality.SHIPPED_AUDIO), 10, 10))
  print(json.dumps(found["differences"]))
  assert found["codes"] == 10 * 300 * 56 * 8 and found["all near-ties"]
  assert 0 < found["bfloat16"]["share of codes that differ"] < 0.02


def written(benchmark, path, *options):
  """What a benchmark writes to its JSON file."""
  command = [sys.executable, "-m", f"benchmarks.{benchmark}", *options, f"--json={path}"]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  return json.loads(path.read_text())


@pytest.mark.slow
def test_the_cost_curve_runs_on_a_short_clip(tmp_path):
  found = written("sampling", tmp_path / "cpu.json", "--only=curve", "--minutes=0.1")["curve"]
  assert found["frames"] == 180 and found["frames a second"] > 0
  assert list(found["milliseconds a frame at"]) == ["1 s", "6 s"]
  assert all(entry["median"] > 0 and entry["MiB"] > 0 for entry in found["milliseconds a frame at"].values())


@pytest.mark.slow
def test_the_gpu_suite_runs_at_a_tiny_size(tmp_path):
  parts = written("gpu_suite", tmp_path / "gpu.json", "--size=tiny", "--budget=1000")["parts"]
  assert {name for name, part in parts.items() if "failed" in part} == set(), parts
  stages = {name: entry for name, entry in parts["memcodes"].items() if name != "took"}
  assert len(stages) == 10 and all(entry["equal"] == 1 for name, entry in stages.items() if "float32" in name)
