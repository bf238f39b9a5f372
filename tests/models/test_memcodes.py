"""The discretisation layer against Algorithm 1 and equations 1-3 and 10."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax.models import memcodes


def algorithm_1(logits, noise):
  """The paper's own form, with a stop-gradient."""
  alpha = jax.nn.softmax(logits + noise)
  onehot = jax.nn.one_hot(jnp.argmax(alpha, axis=-1), logits.shape[-1])
  return jax.lax.stop_gradient(onehot - alpha) + alpha


def test_straight_through_equals_algorithm_1_in_value_and_gradient():
  keys = jax.random.split(jax.random.key(0), 3)
  logits, noise, cotangent = (jax.random.normal(k, (5, 4, 8)) for k in keys)
  value, pullback = jax.vjp(memcodes.straight_through, logits, noise)
  expected, expected_pullback = jax.vjp(algorithm_1, logits, noise)
  np.testing.assert_allclose(value, expected, atol=1e-6)
  for ours, theirs in zip(pullback(cotangent), expected_pullback(cotangent), strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_gumbel_max_draws_from_the_softmax():
  logits = jnp.array([0.0, 1.0, 2.0, -1.0])
  draws = memcodes.sample_onehot(jnp.tile(logits[None], (40_000, 1)), jax.random.key(1), "gumbel")
  np.testing.assert_allclose(draws.mean(axis=0), jax.nn.softmax(logits), atol=0.01)


def test_softmax_sampler_has_the_same_samples_and_the_gradient_without_noise():
  logits, cotangent = (jax.random.normal(jax.random.key(k), (6, 8)) for k in (0, 1))
  key = jax.random.key(2)
  value, pullback = jax.vjp(lambda x: memcodes.sample_onehot(x, key, "softmax"), logits)
  np.testing.assert_allclose(value, memcodes.sample_onehot(logits, key, "gumbel"), atol=1e-6)
  _, expected = jax.vjp(jax.nn.softmax, logits)
  np.testing.assert_allclose(pullback(cotangent)[0], expected(cotangent)[0], atol=1e-6)


def test_gumbel_noise_is_finite_and_has_its_mean():
  noise = memcodes.gumbel(jax.random.key(0), (200_000,))
  assert jnp.all(jnp.isfinite(noise))
  np.testing.assert_allclose(noise.mean(), np.euler_gamma, atol=0.01)


@pytest.fixture(scope="module")
def layer():
  module = memcodes.HardAttention(num_heads=2, num_codes=4, code_dim=6, features=8, query_init=1.0)
  x = jax.random.normal(jax.random.key(0), (1, 2, 3, 2, 5))
  return module, module.init(jax.random.key(1), x, None, "argmax"), x


def test_hard_attention_against_numpy(layer):
  module, params, x = layer
  out, logits, onehot = module.apply(params, x, None, "argmax")
  p = jax.tree.map(np.asarray, params["params"])
  query = np.asarray(x) @ p["query"]["kernel"] + p["query"]["bias"]
  keys = p["codebook"] @ p["key"]["kernel"] + p["key"]["bias"]
  values = p["codebook"] @ p["value"]["kernel"] + p["value"]["bias"]
  for head in range(2):
    part = slice(4 * head, 4 * head + 4)
    chi = query[..., part] @ keys[:, part].T / np.sqrt(4)
    np.testing.assert_allclose(logits[..., head, :], chi, atol=1e-5)
    np.testing.assert_allclose(out[..., part], values[chi.argmax(-1)][..., part], atol=1e-5)
  np.testing.assert_array_equal(onehot.sum(-1), 1.0)


def test_lookup_of_the_argmax_is_the_argmax_attention(layer):
  module, params, x = layer
  out, logits, _ = module.apply(params, x, None, "argmax")
  np.testing.assert_allclose(module.apply(params, logits.argmax(-1), method="lookup"), out, atol=1e-6)


def test_queries_start_centred_whatever_the_encoder_gives():
  x = 50.0 + 0.01 * jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 16))
  module = memcodes.Query(features=32, std=0.1)
  queries = np.asarray(module.apply(module.init(jax.random.key(1), x), x), np.float64)
  np.testing.assert_allclose(queries.mean(axis=(0, 1, 2, 3)), 0.0, atol=0.01)
  np.testing.assert_allclose(queries.std(axis=(0, 1, 2, 3)), 0.1, rtol=0.05)


def test_inputs_that_hardly_differ_use_many_codes_from_the_start():
  x = 1.0 + 0.01 * jax.random.normal(jax.random.key(0), (64, 1, 2, 2, 64))
  module = memcodes.HardAttention(num_heads=2, num_codes=46, code_dim=64, features=64, query_init=1.0)
  params = module.init(jax.random.key(1), x, None, "argmax")
  used = lambda logits: min(len(np.unique(logits[..., head, :].argmax(-1))) for head in range(2))
  assert used(module.apply(params, x, method="logits")) > 30
  blind = module.init(jax.random.key(1), jnp.zeros_like(x), None, "argmax")  # a projection that has seen no data
  assert used(module.apply(blind, x, method="logits")) < 5


def test_hamming_is_the_share_of_differing_heads():
  assert memcodes.hamming(jnp.array([1, 2, 3, 4]), jnp.array([1, 0, 3, 0])) == 0.5


def test_more_codes_than_a_byte_holds_are_refused():
  layer = memcodes.HardAttention(num_heads=1, num_codes=257, code_dim=2, features=2, query_init=1.0)
  with pytest.raises(ValueError, match="256 or fewer"):
    layer.init(jax.random.key(0), jnp.zeros((1, 1, 1, 1, 2)), None, "argmax")


def test_an_unknown_sampler_or_a_missing_key_is_refused():
  with pytest.raises(ValueError, match="choose one of gumbel"):
    memcodes.sample_onehot(jnp.zeros((1, 2)), None, "gumble")
  with pytest.raises(ValueError, match="needs a key"):
    memcodes.sample_onehot(jnp.zeros((1, 2)), None, "gumbel")
