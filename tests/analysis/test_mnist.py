"""The Memcode layer learns digits, and the check that says so fails for broken layers; the study end to end."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import dvae_mnist
from nwt_jax import build
from nwt_jax.analysis import hamming, mnist
from nwt_jax.generate.render import from_pixels
from nwt_jax.models import memcodes
from nwt_jax.train import digits
from tests.digits import folder, real_or_drawn

STEPS = 250


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
  return real_or_drawn(tmp_path_factory.mktemp("mnist"))


def learn(path) -> dict[str, float]:
  """Trains a small plain dVAE of 11 heads x 2 codes and says what its codes are worth on held-out pictures."""
  config = dvae_mnist.get_config("loss=elbo")
  with config.unlocked():
    config.model.update({"stem": 8, "stages": ((1, 8), (1, 16), (1, 32), (1, 64)), "temporal": ((1, 64),)})
    config.data.update({"path": str(path), "held_out": 1_000})
    config.objective.kl_weight = 0.1
  stage = digits.make_stage(config)
  step, state = jax.jit(stage.step, donate_argnums=0), jax.tree.map(jnp.array, stage.state)
  for _, batch in zip(range(STEPS), stage.batches(0), strict=False):
    state, _ = step(state, batch)
  train, judged = digits.split(config)
  encode = digits.make_encoder(config)
  base, queries = encode(state.gen, train.pictures[:10_000]), encode(state.gen, judged.pictures)
  accuracy, _ = hamming.nearest_label_accuracy(queries, judged.labels, base, train.labels[:10_000])
  # sampled symbols leave the likeliest one as often as the probabilities say
  model = build.dvae(config.model)
  video = from_pixels(jnp.asarray(judged.pictures))
  logits = model.apply(state.gen, video, method="encode")
  onehot = memcodes.sample_onehot(logits, jax.random.key(0), "gumbel")
  expected = float(jnp.mean(1.0 - jnp.max(jax.nn.softmax(logits), axis=-1)))
  left = float(jnp.mean(jnp.argmax(onehot, axis=-1) != jnp.argmax(logits, axis=-1)))
  return {"accuracy": accuracy, "permutations": len(np.unique(base, axis=0)), "noise": left / expected}


def check(found: dict[str, float]) -> None:
  """What a sound layer reaches in so few steps."""
  assert found["permutations"] >= 200, found
  assert found["accuracy"] >= 0.5, found
  assert 0.8 <= found["noise"] <= 1.25, found


def test_the_layer_learns_digits(pictures):
  check(learn(pictures))


def no_noise(key, shape, dtype=jnp.float32):
  return jnp.zeros(shape, dtype)


@jax.custom_vjp
def wrong_gradient(logits, noise):
  return jax.nn.one_hot(jnp.argmax(logits + noise, axis=-1), logits.shape[-1], dtype=logits.dtype)


wrong_gradient.defvjp(lambda logits, noise: (wrong_gradient(logits, noise), None), lambda _, g: (-g, -g))


def one_head_for_all(self, x):
  head = memcodes.HardAttention.whole_logits(self, x)[..., :1, :]
  return jnp.repeat(head, self.num_heads, axis=-2)


@pytest.mark.slow
@pytest.mark.parametrize("name, broken", [("gumbel", no_noise), ("straight_through", wrong_gradient)])
def test_the_check_fails_for_a_broken_sampler(pictures, monkeypatch, name, broken):
  monkeypatch.setattr(memcodes, name, broken)
  with pytest.raises(AssertionError):
    check(learn(pictures))


@pytest.mark.slow
def test_the_check_fails_for_one_head_in_place_of_all(pictures, monkeypatch):
  monkeypatch.setattr(memcodes.HardAttention, "whole_logits", memcodes.HardAttention.logits, raising=False)
  monkeypatch.setattr(memcodes.HardAttention, "logits", one_head_for_all)
  with pytest.raises(AssertionError):
    check(learn(pictures))


@pytest.mark.slow
def test_the_study_end_to_end(tmp_path, start, refused):
  data, output = folder(tmp_path / "data", 600, 40), tmp_path / "out"
  done = start("analysis.mnist", f"--data={data}", f"--output={output}", "--fast", timeout=600)
  assert done.returncode == 0, done.stderr
  results = json.loads((output / "results.json").read_text())
  for name in (*mnist.PAPER, "a2.random.nn_accuracy", "a2.pixel.nn_accuracy", "a2.dvae_frozen.nn_accuracy"):
    assert results[name].keys() == {"mean", "std", "seeds", "values"} and 0 <= results[name]["mean"] <= 1
  assert results["b15.gumbel.gradient_variance"]["mean"] > 0 and "a2.dvae.nn_accuracy_random_tie" in results
  for figure in ("a1_all_generations", "a1_occupancy", "a1_head_edits", "a2_dvae_class_neighbours"):
    assert (output / f"{figure}.png").stat().st_size > 500
  assert "has no train-images" in refused("analysis.mnist", f"--data={tmp_path}", f"--output={output}")


def test_results_of_other_experiments_stay(tmp_path):
  mnist.write(tmp_path, {"a1.occupancy": [0.5, 0.7]})
  mnist.write(tmp_path, {"a2.pixel.nn_accuracy": [0.9]})
  results = json.loads((tmp_path / "results.json").read_text())
  assert results["a1.occupancy"] == {"mean": 0.6, "std": pytest.approx(0.1), "seeds": 2, "values": [0.5, 0.7]}
  assert "0.6000" in mnist.table({"a1.occupancy": [0.5, 0.7]}) and "0.830" in mnist.table({"a1.occupancy": [0.5]})
