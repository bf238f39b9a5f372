"""What makes training fit: gradients in parts, states cut among devices, other precisions, a moving average, remat."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import jaxprs_in_params

from nwt_jax import build
from nwt_jax.configs import dvae_lwt, far
from nwt_jax.errors import InputError
from nwt_jax.objectives.dvae import make_losses
from nwt_jax.objectives.prior import prior_loss
from nwt_jax.train.runtime import sharding
from nwt_jax.train.runtime.accumulate import accumulate_gradients, check_parts
from nwt_jax.train.runtime.precision import with_precision
from nwt_jax.train.stages import dvae_step, prior_step
from nwt_jax.train.stages.dvae_step import init_state, make_dvae_step
from tests import priors
from tests.train.stages.test_dvae_step import close, networks, small

jit = priors.jit


@pytest.fixture(scope="module")
def setup():
  return small()


def quadratic(weights):
  def gradient(batch, key):
    loss = lambda w: jnp.mean((batch["x"] @ w) ** 2)
    return jax.grad(loss)(weights), {"loss": loss(weights), "noise": jax.random.normal(key, (2,))}

  return gradient


def test_parts_of_a_batch_add_up_to_it():
  draw = np.random.default_rng(0)
  weights, batch = jnp.asarray(draw.normal(size=5)), {"x": jnp.asarray(draw.normal(size=(12, 5)))}
  key = jax.random.key(3)
  whole, one = quadratic(weights)(batch, key)
  for parts in (1, 2, 3, 4):
    got, metrics = jit(accumulate_gradients(quadratic(weights), parts))(batch, key)
    np.testing.assert_allclose(got, whole, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], one["loss"], rtol=1e-5)
  noises = [jax.random.normal(jax.random.fold_in(key, part), (2,)) for part in range(4)]
  np.testing.assert_allclose(metrics["noise"], np.mean(noises, axis=0), rtol=1e-5)  # each part its own


def test_parts_move_no_clip_between_devices():
  """Each device's rows hold its share of every part."""
  mesh = sharding.make_mesh()
  batch = sharding.to_devices({"x": np.ones((16, 5), np.float32)}, mesh)
  weights = jax.device_put(jnp.ones(5), sharding.replicated(mesh))
  gradient = jax.jit(lambda w, b: accumulate_gradients(quadratic(w), 2)(b, jax.random.key(0)))
  text = gradient.lower(weights, batch).compile().as_text()
  assert "all-reduce" in text and "all-gather" not in text and "all-to-all" not in text


def test_parts_that_do_not_divide_are_refused():
  check_parts(2, 8, 4)
  for parts, clips, devices in ((3, 8, 1), (2, 8, 8), (0, 8, 1)):
    with pytest.raises(InputError, match="does not divide"):
      check_parts(parts, clips, devices)


@pytest.mark.parametrize("fsdp", [2])
def test_a_state_cut_among_devices_trains_as_a_whole_one(setup, fsdp, monkeypatch):
  monkeypatch.setattr(sharding, "SMALLEST", 16)
  losses, gen, critic, batch = setup
  tx = optax.adam(1e-2)
  step = make_dvae_step(losses, tx, tx, seed=0, ema_decay=0.9)
  state = init_state(gen, critic, tx, tx, ema=True)
  single, single_metrics = jit(step)(state, batch)
  mesh = sharding.make_mesh(fsdp)
  laid = sharding.shard_state(state, mesh)
  cut = [x for x in jax.tree.leaves(laid) if x.addressable_data(0).size < x.size]
  assert len(cut) > 20 and all(x.addressable_data(0).size == x.size // fsdp for x in cut)
  per_device = sum(x.addressable_data(0).nbytes for x in jax.tree.leaves(laid))
  whole = sharding.bytes_per_device(state, sharding.make_mesh())
  assert per_device == sharding.bytes_per_device(state, mesh) < 0.8 * whole
  many, metrics = sharding.jit_step(step, mesh, state)(laid, sharding.to_devices(jax.device_get(batch), mesh))
  wanted = jax.tree.leaves(sharding.state_sharding(state, mesh))
  assert all(a.sharding == b for a, b in zip(jax.tree.leaves(many), wanted, strict=True))
  close(single_metrics, metrics, 1e-4)
  # Adam's first step is the sign of the gradient: where that is 0 but for rounding, signs differ
  moments = lambda s: (s.opt_gen[0].mu, s.opt_critic[0].mu)
  close(moments(single), moments(sharding.gather(many, mesh)), 1e-5)


def test_the_rule_cuts_the_longest_axis_of_large_arrays():
  mesh = sharding.make_mesh(4)
  shapes = {"kernel": (4, 4, 64, 32), "odd": (4097, 3), "small": (8, 8), "bias": (8192,)}
  laid = sharding.state_sharding({k: jax.ShapeDtypeStruct(s, jnp.float32) for k, s in shapes.items()}, mesh)
  axes = {name: tuple(s.spec) for name, s in laid.items()}
  assert axes == {"kernel": (None, None, "fsdp", None), "odd": (), "small": (), "bias": ("fsdp",)}
  with pytest.raises(InputError, match="fsdp is 3, which does not divide 4 devices"):
    sharding.make_mesh(3)


def factors(jaxpr) -> set[tuple[str, ...]]:
  """The types of both factors of every product and convolution, also inside."""
  found = set()
  for equation in jaxpr.eqns:
    if equation.primitive.name in ("dot_general", "conv_general_dilated"):
      found.add(tuple(sorted(str(v.aval.dtype) for v in equation.invars)))
    for inner in jaxprs_in_params(equation.params):
      found |= factors(inner)
  return found


def test_bfloat16_computes_in_it_and_keeps_float32():
  config, model, critics, gen, critic, batch = networks()
  weights = build.dvae_loss_weights(config.objective)

  def update(precision):
    losses = make_losses(*(with_precision(net.apply, precision) for net in (model, critics)), weights)
    tx = optax.sgd(1e-2)
    return make_dvae_step(losses, tx, tx, seed=0), init_state(gen, critic, tx, tx)

  (exact, state), (mixed, _) = update("float32"), update("bfloat16")
  after, metrics = jit(exact)(state, batch)
  rough, rough_metrics = jit(mixed)(state, batch)
  assert all(a.dtype == b.dtype for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(rough), strict=True))
  for name in ("loss/recon", "loss/pixel", "loss/gradient_penalty", "grad_norm/critic"):
    np.testing.assert_allclose(rough_metrics[name], metrics[name], rtol=0.05)
    assert rough_metrics[name] != metrics[name]
  rough_types, exact_types = (factors(jax.make_jaxpr(step)(state, batch).jaxpr) for step in (mixed, exact))
  # One factor is float32 where the gradient of the Memcodes' logits, which are, meets queries and keys
  assert rough_types == {("bfloat16", "bfloat16"), ("bfloat16", "float32")}
  assert exact_types == {("float32", "float32")}
  with pytest.raises(InputError, match="choose one of float32, tensorfloat32, bfloat16"):
    with_precision(model.apply, "float16")


@pytest.mark.parametrize("family", ["far", "mar"])
def test_bfloat16_priors_are_close(family):
  from nwt_jax.train.stages.prior_step import make_prior_loss

  module = priors.model(family)
  params, inputs = priors.parameters(module), priors.batch(module, 4)
  batch = {**inputs, "episode": inputs["episode"][:, 0]}

  def losses(precision):
    loss = make_prior_loss(module, lambda *a: prior_loss(*a, style_kl_weight=1.0), 0, 0, precision)
    return jit(lambda p: loss(p, batch, jax.random.key(0))[0])(params)

  apply = with_precision(module.apply, "bfloat16")
  forward = lambda p: apply(p, *(inputs[n] for n in ("codes", "mel", "style", "episode")))
  assert factors(jax.make_jaxpr(forward)(params).jaxpr) == {("bfloat16", "bfloat16")}
  exact, rough = losses("float32"), losses("bfloat16")
  assert rough.dtype == jnp.float32 and rough != exact
  np.testing.assert_allclose(rough, exact, rtol=0.02)


def test_the_moving_average_is_what_is_released(setup):
  losses, gen, critic, batch = setup
  tx = optax.sgd(0.1)
  step = jit(make_dvae_step(losses, tx, tx, seed=0, ema_decay=0.75))
  state = init_state(gen, critic, tx, tx, ema=True)
  average = gen
  for _ in range(2):
    state, _ = step(state, batch)
    average = jax.tree.map(lambda a, new: 0.75 * a + 0.25 * new, average, state.gen)
  close(state.ema, average, 1e-6)
  released = state.for_release()
  assert released.gen is state.ema and released.opt_gen is None and released.ema is None
  assert init_state(gen, critic, tx, tx).for_release().gen is gen


def test_computing_residual_blocks_again_changes_no_gradient():
  config, model, critics, gen, critic, batch = networks()

  def gradient(net):
    losses = make_losses(net.apply, critics.apply, build.dvae_loss_weights(config.objective))
    tx = optax.sgd(1.0)
    return jit(make_dvae_step(losses, tx, tx, seed=0))(init_state(gen, critic, tx, tx), batch)[0].gen

  close(gradient(model), gradient(model.clone(remat=True)), 1e-5)


@pytest.mark.parametrize("family", ["dvae", "far"])
def test_the_switches_of_a_config_reach_its_update(family):
  """Two updates by a config's own update: in parts, with a moving average, in bfloat16, with blocks computed again."""

  def update(**options):
    config = (dvae_lwt if family == "dvae" else far).get_config("tiny")
    config.train.update({"ema_decay": 0.5, **options})
    if family == "dvae":
      with config.unlocked():
        config.model.update({"stages": ((1, 4),), "temporal": ((1, 4),)})
        config.critics = ((((1, 4, 4), 2, 1, 4),),)
      model = build.dvae(config.model, config.train.remat)
      state, step = dvae_step.make_update(config, model, np.zeros((4, 2, 8, 8, 3), np.uint8))
      video = np.random.default_rng(0).integers(0, 256, (4, 2, 8, 8, 3), np.uint8)
      batch = {"video": video, "episode": np.zeros(4, np.int32)}
    else:
      model = build.prior(family, config.model, config.train.remat)
      state, step = prior_step.make_update(config, model, functools.partial(prior_loss, style_kl_weight=1.0))
      inputs = priors.batch(model, 4, size=4)
      batch = {"codes": inputs["codes"], "mel": inputs["mel"], "episode": jnp.zeros(4, jnp.int32)}
    text = str(jax.make_jaxpr(step)(state, batch))
    return text, jax.eval_shape(step, state, batch)[0]

  plain, state = update()
  assert state.ema is not None and "bf16" not in plain and "length=2" not in plain
  assert "bf16" in update(precision="bfloat16")[0]
  assert "length=2" in update(accumulate=2)[0]  # of the scan over parts
  assert update(remat=True)[0].count("remat") > plain.count("remat")
  assert update(ema_decay=0.0)[1].ema is None
