"""Style control: sampled, copied, and set by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax.errors import InputError
from nwt_jax.generate import style
from tests import priors


def test_a_sample_depends_on_its_key_alone():
  module = priors.model("mar")
  keys = jax.random.split(jax.random.key(0), 3)
  all_ = style.sample(module, keys)
  assert all_.shape == (3, module.style_dim)
  np.testing.assert_array_equal(style.sample(module, keys[1:2]), all_[1:2])


def test_a_copy_is_the_posteriors_mean_or_a_draw_from_it():
  module = priors.model("far")
  params, codes = priors.parameters(module), priors.batch(module, 4)["codes"]
  mean, log_std = priors.jit(functools.partial(module.apply, method="style_posterior"))(params, codes)
  keys = jax.random.split(jax.random.key(0), 2)
  np.testing.assert_array_equal(priors.jit(functools.partial(style.copy, module))(params, codes), mean)
  drawn = priors.jit(functools.partial(style.copy, module))(params, codes, keys)
  np.testing.assert_allclose((drawn - mean) / np.exp(log_std), style.sample(module, keys), rtol=1e-4, atol=1e-5)


def test_a_drawn_style_is_the_posterior_of_a_training_clip_of_the_episode():
  module = priors.model("mar")
  mean = jnp.arange(3.0)[:, None] * 10 + jnp.zeros((3, module.style_dim))
  log_std = jnp.full_like(mean, np.log(0.5)).at[2].set(-4.0)
  variables = {"styles": {"mean": mean, "log_std": log_std, "episode": jnp.array([4, 4, 6])}}

  def drawn(episode):
    return np.concatenate([style.draw(module, variables, jax.random.key(n), episode) for n in range(80)])

  of_4 = drawn(4)
  first = of_4.mean(axis=1) < 5
  assert 0.3 < first.mean() < 0.7  # either clip
  np.testing.assert_allclose(of_4[first].mean(), 0, atol=0.1)
  np.testing.assert_allclose(of_4[first].std(), 0.5, atol=0.1)
  np.testing.assert_allclose(drawn(6), 20, atol=0.1)
  assert {round(mean / 10) for mean in drawn(5).mean(axis=1)} == {0, 1, 2}  # no clip of this episode: any clip


def test_without_a_bank_styles_are_standard_normal():
  module, key = priors.model("mar"), jax.random.key(3)
  np.testing.assert_array_equal(style.draw(module, {"params": {}}, key, 0), style.sample(module, key[None]))


def test_single_variates_or_all_are_set_by_hand():
  start = jnp.zeros((2, 4))
  np.testing.assert_array_equal(style.edit(start, "3=+2.0"), [[0, 0, 0, 2]] * 2)
  np.testing.assert_array_equal(style.edit(start, "1=-1, 0=.5"), [[0.5, -1, 0, 0]] * 2)
  np.testing.assert_array_equal(style.edit(start, "1,2,3,-4"), [[1, 2, 3, -4]] * 2)


@pytest.mark.parametrize("text", ["", "x", "1=", "4=1", "-1=1", "1,2,3", "1=2=3", "0=nan", "0=1,2", "0=inf"])
def test_what_makes_no_style_is_refused_in_one_line(text):
  with pytest.raises(InputError) as error:
    style.edit(jnp.zeros((1, 4)), text)
  assert "\n" not in str(error.value)
