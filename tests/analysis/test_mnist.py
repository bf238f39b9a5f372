"""The MNIST study end to end at a tiny size, and how its results are kept."""

import json

import pytest

from nwt_jax.analysis import mnist
from nwt_jax.errors import InputError
from tests.digits import folder


@pytest.mark.slow
def test_the_study_end_to_end(tmp_path, start, refused):
  data, output = folder(tmp_path / "data", 60, 40), tmp_path / "out"
  done = start("analysis.mnist", f"--data={data}", f"--output={output}", "--fast", timeout=600)
  assert done.returncode == 0, done.stderr
  results = json.loads((output / "results.json").read_text())
  for name in (*mnist.PAPER, "a2.random.nn_accuracy", "a2.pixel.nn_accuracy", "a2.dvae_frozen.nn_accuracy"):
    assert results[name].keys() == {"mean", "std", "seeds", "values"} and 0 <= results[name]["mean"] <= 1
  assert results["b15.gumbel.gradient_variance"]["mean"] > 0 and "a2.dvae.nn_accuracy_random_tie" in results
  for figure in ("a1_all_generations", "a1_occupancy", "a1_head_edits", "a2_dvae_class_neighbours"):
    assert (output / f"{figure}.png").stat().st_size > 500
  assert "has no train-images" in refused("analysis.mnist", f"--data={tmp_path}", f"--output={output}")
  assert "results of other settings" in refused("analysis.mnist", f"--data={data}", f"--output={output}")


def test_results_of_other_experiments_stay(tmp_path):
  mnist.write(tmp_path, {"a1.occupancy": [0.5, 0.7]})
  mnist.write(tmp_path, {"a2.pixel.nn_accuracy": [0.9]})
  results = json.loads((tmp_path / "results.json").read_text())
  assert results["a1.occupancy"] == {"mean": 0.6, "std": pytest.approx(0.1), "seeds": 2, "values": [0.5, 0.7]}
  assert "0.6000" in mnist.table({"a1.occupancy": [0.5, 0.7]}) and "0.830" in mnist.table({"a1.occupancy": [0.5]})


def test_results_of_other_options_do_not_mix(tmp_path):
  options = {"data": "d", "fast": False, "held_out": True}
  mnist.claim_output(tmp_path, options)
  mnist.claim_output(tmp_path, options)
  with pytest.raises(InputError, match="use a new --output"):
    mnist.claim_output(tmp_path, options | {"held_out": False})


def test_data_that_was_moved_does_not_make_another_config():
  before = {"data": {"path": "/old/mnist", "seed": 0}, "train": {"steps": 3}}
  now = {**before, "data": {"path": "new", "seed": 0}}
  assert mnist.without_path(json.dumps(before)) == mnist.without_path(json.dumps(now))
  assert mnist.without_path(json.dumps(before)) != mnist.without_path(json.dumps({**now, "train": {"steps": 4}}))
