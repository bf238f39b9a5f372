"""Equations 4-9 against NumPy and against plain differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax.objectives import schedules, terms


def test_uniform_kl_against_numpy():
  logits = jax.random.normal(jax.random.key(0), (2, 3, 2, 2, 4, 8)) * 2
  probs = np.asarray(jax.nn.softmax(logits), np.float64)
  expected = (probs * np.log(probs * 8)).sum(axis=(-1, -2)).mean()
  np.testing.assert_allclose(terms.uniform_kl(logits), expected, rtol=1e-5)
  assert terms.uniform_kl(jnp.zeros((1, 1, 1, 1, 3, 8))) == pytest.approx(0, abs=1e-6)
  certain = 1e4 * jax.nn.one_hot(jnp.zeros((1, 1, 1, 1, 3), int), 8)
  assert terms.uniform_kl(certain) == pytest.approx(3 * np.log(8), rel=1e-6)


def test_feature_distance_is_the_mean_of_each_map_summed():
  real = [[jnp.ones((2, 4)), jnp.zeros((2, 8))], [jnp.ones((2, 2))]]
  fake = [[jnp.zeros((2, 4)), jnp.full((2, 8), 0.5)], [jnp.full((2, 2), -1.0)]]
  assert terms.feature_distance(real, fake) == pytest.approx(1 + 0.5 + 2)


def test_pixel_distance_under_laplace_and_gauss():
  video, recon = (jnp.reshape(jnp.array(x), (2, 1, 2, 1, 1)) for x in ([0.0, 0.0, 0.0, 0.0], [1.0, -2.0, 0.0, 3.0]))
  assert terms.pixel_distance(video, recon, 1) == 1.5 and terms.pixel_distance(video, recon, 2) == 3.5


def test_class_terms_against_numpy():
  logits = [jax.random.normal(jax.random.key(i), (5, 4)) * 3 for i in range(2)]
  label = jnp.array([0, 3, 1, 1, 2])
  whole = [np.asarray(part, np.float64) for part in logits]
  logp = [part - np.log(np.exp(part).sum(-1))[:, None] for part in whole]
  expected = -sum(part[np.arange(5), label].mean() for part in logp)
  np.testing.assert_allclose(terms.class_cross_entropy(logits, label, 0.0), expected, rtol=1e-5)
  spread = -sum(part.mean() for part in logp)
  np.testing.assert_allclose(terms.class_cross_entropy(logits, label, 0.2), 0.8 * expected + 0.2 * spread, rtol=1e-5)
  np.testing.assert_allclose(terms.class_error(logits, label), np.mean(sum(logp).argmax(-1) != np.asarray(label)))
  right = [20.0 * jax.nn.one_hot(label, 4)]
  assert terms.class_error(right, label) == 0.0 and terms.class_cross_entropy(right, label, 0.0) < 1e-6


def test_wasserstein_and_generator_score():
  real, fake = [jnp.array([1.0, 3.0]), jnp.array([0.0, 1.0])], [jnp.array([0.0, 1.0]), jnp.array([2.0, 2.0])]
  assert terms.wasserstein(real, fake) == pytest.approx(0.5 - 2.0 + 2.0 - 0.5)
  assert terms.generator_score(fake) == pytest.approx(-2.5)


@pytest.mark.parametrize("power", [1, 2])
def test_beside_pixels_beta_norm_makes_the_sum_the_elbo_by_the_element(power):
  # 2 clips of 3 frames, 4 x 5 Memcodes of 6 heads, 8 x 10 pixels
  draw = np.random.default_rng(power)
  video, recon = draw.normal(size=(2, 2, 3, 8, 10, 3)).astype(np.float32)
  logits = jnp.asarray(draw.normal(size=(2, 3, 4, 5, 6, 7)), jnp.float32)
  weight = terms.beta_norm(1.0, video.shape, logits.shape)
  assert weight == pytest.approx(4 * 5 / (8 * 10 * 3))
  found = terms.pixel_distance(jnp.asarray(video), jnp.asarray(recon), power) + weight * terms.uniform_kl(logits)
  # -log p of a Laplace distribution of scale 1, of a Gaussian of variance 1/2, but for their constants
  nll = np.abs(video - recon).sum() if power == 1 else (((video - recon) ** 2) / (2 * 0.5)).sum()
  q = np.exp(np.asarray(jax.nn.log_softmax(logits), np.float64))
  np.testing.assert_allclose(found, (nll + (q * np.log(q * 7)).sum()) / video.size, rtol=1e-5)


def quadratic_critics(params, x):
  """Two scores with a gradient that depends on parameters and input."""
  flat = x.reshape(x.shape[0], -1)
  hidden = jnp.tanh(flat @ params["w"])
  return hidden.sum(axis=-1), (hidden**2 @ params["v"]).sum(axis=-1)


def test_gradient_penalty_surrogate_has_the_true_gradient_and_value():
  key = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(key[0], (3, 1, 2, 2, 3))
  params = {"w": jax.random.normal(key[1], (12, 5)), "v": jax.random.normal(key[2], (5, 2))}

  def direct(params):
    total = 0.0
    for index in range(2):
      gradient = jax.grad(lambda v, i=index: quadratic_critics(params, v)[i].sum())(x)
      total += jnp.mean((jnp.sqrt((gradient**2).sum(axis=(1, 2, 3, 4))) - 1) ** 2)
    return total

  def ours(params):
    frozen = jax.lax.stop_gradient(params)
    return terms.gradient_penalty(lambda v: quadratic_critics(params, v), lambda v: quadratic_critics(frozen, v), x)

  value, expected = jax.value_and_grad(direct)(params)
  grads, penalty = jax.grad(ours, has_aux=True)(params)
  np.testing.assert_allclose(penalty, value, rtol=1e-5)
  for name in params:
    np.testing.assert_allclose(grads[name], expected[name], rtol=1e-4, atol=1e-5)


def test_gradient_penalty_of_a_flat_critic_is_finite():
  surrogate, penalty = terms.gradient_penalty(
    lambda v: (0.0 * v.sum(axis=(1, 2, 3, 4)),), lambda v: (0.0 * v.sum(axis=(1, 2, 3, 4)),), jnp.zeros((2, 1, 2, 2, 3))
  )
  assert penalty == 1.0 and jnp.isfinite(surrogate)


def test_interpolation_draws_one_u_a_sample():
  real, fake = jnp.ones((4, 2, 2, 2, 3)), jnp.zeros((4, 2, 2, 2, 3))
  mixed = terms.interpolate(jax.random.key(0), real, fake)
  assert jnp.all(mixed == mixed[:, :1, :1, :1, :1])
  assert len(np.unique(mixed)) == 4 and mixed.min() >= 0 and mixed.max() <= 1


def test_logistic_annealing():
  assert schedules.logistic(5_000, 5_000.0, 1e-3) == 0.5
  assert schedules.logistic(0, 5_000.0, 1e-3) == pytest.approx(1 / (1 + np.exp(5)), rel=1e-5)
  assert schedules.logistic(20_000, 5_000.0, 1e-3) == pytest.approx(1, abs=1e-6)


def test_fade_out():
  assert [float(schedules.fade_out(s, 100)) for s in (0, 50, 100, 500)] == [1.0, 0.5, 0.0, 0.0]
  assert schedules.fade_out(0, 0) == 0.0
