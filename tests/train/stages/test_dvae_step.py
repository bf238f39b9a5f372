"""One update of stage 1 against plain gradients, in turns, and on several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nwt_jax import build
from nwt_jax.configs import dvae_lwt
from nwt_jax.objectives.dvae import make_losses
from nwt_jax.train.runtime import sharding
from nwt_jax.train.stages.dvae_step import init_state, make_dvae_step, prepare


def networks():
  """Config, generator, critics, their parameters, and a batch."""
  config = dvae_lwt.get_config("tiny")
  with config.unlocked():
    config.model.update({"stages": ((1, 4),), "num_episodes": 2, "temporal": ((2, 4),)})
    config.critics = ((((1, 4, 4), 2, 1, 4), ((2, 2, 2), 1, 1, 4)), (((1, 4, 4), 2, 1, 4), ((1, 4, 4), 2, 2, 4)))
  model, critics = build.dvae(config.model), build.critics(config.critics, config.num_classes)
  video, episode = jnp.zeros((1, 2, 8, 8, 3)), jnp.zeros((1, 2), jnp.int32)
  begin = jax.jit(lambda key, noise: model.init(key, video, episode, noise, "gumbel"))
  gen = begin(jax.random.key(0), jax.random.key(1))
  critic = jax.jit(critics.init)(jax.random.key(2), video)
  rng = np.random.default_rng(0)
  video = jnp.asarray(rng.integers(0, 256, (4, 3, 8, 8, 3), np.uint8))
  batch = {"video": video, "episode": jnp.array([0, 1, 0, 1], jnp.int32)}
  return config, model, critics, gen, critic, batch


def small():
  """Losses, parameters and a batch."""
  config, model, critics, gen, critic, batch = networks()
  return make_losses(model.apply, critics.apply, build.dvae_loss_weights(config.objective)), gen, critic, batch


def close(first, second, tolerance):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance, rtol=tolerance), first, second)


@pytest.fixture(scope="module")
def setup():
  return small()


@pytest.fixture(scope="module")
def joint(setup):
  """State and metrics after one joint update by gradient descent, rate 0.1, on one device."""
  losses, gen, critic, batch = setup
  tx = optax.sgd(0.1)
  return jax.jit(make_dvae_step(losses, tx, tx, seed=0))(init_state(gen, critic, tx, tx), batch)


def test_the_joint_step_takes_each_loss_by_its_own_parameters(setup, joint):
  losses, gen, critic, batch = setup
  state, metrics = joint
  inputs = prepare(batch)
  key = jax.random.fold_in(jax.random.key(0), 0)

  @jax.jit
  def gradients(gen, critic):
    """Each loss by each network's parameters."""
    losses_by = lambda which, by: jax.grad(lambda *p: losses(*p, *inputs, key, 0)[which], argnums=by)(gen, critic)
    return [[losses_by(which, by) for by in (0, 1)] for which in (0, 1)]

  (g_gen, other_critic), (other_gen, g_critic) = gradients(gen, critic)
  close(state.gen, jax.tree.map(lambda p, g: p - 0.1 * g, gen, g_gen), 1e-5)
  close(state.critic, jax.tree.map(lambda p, g: p - 0.1 * g, critic, g_critic), 1e-5)
  assert all(np.all(np.isfinite(value)) for value in metrics.values())
  # and not by the other's
  assert all(jnp.all(g == 0) for g in jax.tree.leaves((other_gen, other_critic)))


def test_alternating_updates_the_generator_against_the_new_critics(setup):
  losses, gen, critic, batch = setup
  tx = optax.sgd(0.1)
  step = jax.jit(make_dvae_step(losses, tx, tx, seed=0, update_order="alternate", critic_steps=2))
  state, _ = step(init_state(gen, critic, tx, tx), batch)
  inputs = prepare(batch)
  key, expected = jax.random.fold_in(jax.random.key(0), 0), critic
  for turn in range(2):
    noise = jax.random.fold_in(key, turn)
    grads = jax.jit(jax.grad(lambda p, k: losses(gen, p, *inputs, k, 0)[1]))(expected, noise)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, expected, grads)
  close(state.critic, expected, 1e-5)
  g_gen = jax.jit(jax.grad(lambda p: losses(p, expected, *inputs, key, 0)[0]))(gen)
  close(state.gen, jax.tree.map(lambda p, g: p - 0.1 * g, gen, g_gen), 1e-5)


def test_four_devices_equal_one(setup, joint):
  losses, gen, critic, batch = setup
  if jax.device_count() < 4:
    pytest.skip("needs 4 devices; conftest asks for 4 CPU devices")
  tx = optax.sgd(0.1)
  step = make_dvae_step(losses, tx, tx, seed=0)
  state = init_state(gen, critic, tx, tx)
  single, single_metrics = joint
  mesh = sharding.make_mesh()
  many, metrics = sharding.jit_step(step, mesh, state)(
    sharding.shard_state(state, mesh), sharding.to_devices(jax.device_get(batch), mesh)
  )
  close(single.gen, many.gen, 1e-5)
  close(single.critic, many.critic, 1e-5)
  close(single_metrics, metrics, 1e-4)


def test_joint_with_several_critic_steps_is_refused(setup):
  with pytest.raises(ValueError, match="set update_order to 'alternate'"):
    make_dvae_step(setup[0], optax.identity(), optax.identity(), 0, "joint", 5)


def test_a_batch_that_the_devices_cannot_share_is_refused():
  with pytest.raises(ValueError, match="multiple"):
    sharding.check_batch_size(6, sharding.make_mesh())
