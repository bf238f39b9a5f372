"""The prior's objective against closed forms and numbers written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax.objectives.prior import loss_weights, memcode_cross_entropy, prior_loss, style_kl
from tests import priors


def test_cross_entropy_is_minus_the_log_of_the_softmax():
  draw = np.random.default_rng(0)
  logits = jnp.asarray(draw.normal(0, 3, (2, 3, 2, 2, 4, 5)), jnp.float32)
  codes = jnp.asarray(draw.integers(0, 5, logits.shape[:-1]), jnp.int32)
  probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  wanted = -np.log(np.take_along_axis(probs, codes[..., None], -1)[..., 0])
  np.testing.assert_allclose(memcode_cross_entropy(logits, codes), wanted, rtol=1e-4, atol=1e-5)


def test_style_kl_equals_the_integral():
  mean, log_std = jnp.array([[0.7, -1.2]]), jnp.array([[-0.5, 0.3]])
  x = np.linspace(-12, 12, 200_001)
  wanted = 0.0
  for m, s in ((0.7, np.exp(-0.5)), (-1.2, np.exp(0.3))):
    log_q = -0.5 * ((x - m) / s) ** 2 - np.log(s)
    wanted += np.trapezoid(np.exp(log_q) / np.sqrt(2 * np.pi) * (log_q + 0.5 * x**2), x)
  np.testing.assert_allclose(style_kl(mean, log_std), [wanted], rtol=1e-5)
  np.testing.assert_array_equal(style_kl(jnp.zeros((3, 4)), jnp.zeros((3, 4))), np.zeros(3))


def test_loss_is_the_negative_elbo_of_a_clip_per_head_symbol():
  draw = np.random.default_rng(0)
  codes = jnp.asarray(draw.integers(0, 5, (2, 3, 2, 2, 4)), jnp.int32)
  logits = jnp.asarray(draw.standard_normal((*codes.shape, 5)), jnp.float32)
  mean, log_std = jnp.asarray(draw.standard_normal((2, 2, 6)), jnp.float32)
  loss, metrics = prior_loss(logits, codes, mean, log_std, style_kl_weight=0.5)
  entropy = np.asarray(memcode_cross_entropy(logits, codes)).sum((1, 2, 3, 4))
  per_clip = entropy + 0.5 * np.asarray(style_kl(mean, log_std))
  np.testing.assert_allclose(loss, per_clip.mean() / (3 * 2 * 2 * 4), rtol=1e-6)
  assert set(metrics) == {"loss/total", "loss/ce", "loss/ce_first", "loss/style_kl", "accuracy"}
  np.testing.assert_allclose(metrics["accuracy"], np.mean(logits.argmax(-1) == codes), rtol=1e-6)


def test_positions_weigh_by_their_rate_of_change_and_first_frames_by_their_own_weight():
  rate = jnp.array([[0.01, 0.02], [0.01, 0.16]])
  later = np.array([[0.2, 0.4], [0.2, 3.2]])
  wanted = np.stack([np.full((2, 2), 4.0), later, later]) / 2.0  # 4, 1 and 1 on average
  np.testing.assert_allclose(loss_weights(rate, 1.0, 4.0, 3), wanted, rtol=1e-5)
  np.testing.assert_allclose(loss_weights(rate, 0.5, 3.0, 8).mean(), 1.0, rtol=1e-6)
  np.testing.assert_array_equal(loss_weights(rate, 0.0, 1.0, 3), np.ones((3, 2, 2)))
  assert np.all(np.isfinite(loss_weights(jnp.zeros((2, 2)), 1.0, 1.0, 3)))  # a still video

  draw = np.random.default_rng(0)
  codes = jnp.asarray(draw.integers(0, 5, (2, 3, 2, 2, 4)), jnp.int32)
  logits, still = jnp.asarray(draw.standard_normal((*codes.shape, 5)), jnp.float32), jnp.zeros((2, 6))
  weighted, metrics = prior_loss(logits, codes, still, still, 1.0, loss_weights(rate, 1.0, 4.0, 3))
  plain, same = prior_loss(logits, codes, still, still, 1.0)
  each = np.asarray(memcode_cross_entropy(logits, codes))
  np.testing.assert_allclose(weighted, (each.mean(axis=(0, 4)) * wanted).mean(), rtol=1e-5)
  assert metrics["loss/ce"] == same["loss/ce"] == plain  # metrics compare across weights
  np.testing.assert_allclose(metrics["loss/ce_first"], each[:, 0].mean(), rtol=1e-6)


@pytest.mark.parametrize("family", ["far", "mar"])
def test_a_few_updates_lower_the_loss_and_every_parameter_has_a_gradient(family):
  module = priors.model(family)
  params, inputs = priors.parameters(module), priors.batch(module, 4)

  def loss(params, noise):
    logits, mean, log_std = module.apply(
      params, inputs["codes"], inputs["mel"], inputs["episode"], noise, method="reconstruct"
    )
    return prior_loss(logits, inputs["codes"], mean, log_std, style_kl_weight=1.0)[0]

  @priors.jit
  def update(params, noise):
    value, grads = jax.value_and_grad(loss)(params, noise)
    return value, jax.tree.map(lambda p, g: p - 0.05 * g, params, grads), grads

  losses = []
  for _ in range(5):
    value, params, grads = update(params, inputs["style"])
    losses.append(float(value))
  assert losses[-1] < losses[0] - 1e-3
  dead = [path for path, grad in jax.tree_util.tree_leaves_with_path(grads) if not np.any(grad)]
  assert not dead, dead
