"""FAR's folded weights: what `fold` leaves out, and bfloat16; test_sampling.py has the rest."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from nwt_jax.generate import far
from nwt_jax.generate.noise import frame_noise
from tests import priors

FRAMES = 6


@functools.cache
def set_up():
  """A tiny FAR, its parameters, weights, inputs, keys and conditions."""
  module = priors.model("far")
  params, inputs = priors.parameters(module), priors.batch(module, FRAMES)
  cond = priors.jit(functools.partial(module.apply, method="condition"))(params, *priors.conditions(inputs))
  weights = priors.jit(functools.partial(far.fold, module))(params)
  return module, params, weights, jax.random.split(jax.random.key(0), 2), cond


def test_fold_keeps_nothing_that_only_conditions_read():
  module, _, weights, _, _ = set_up()
  layers, folded = weights
  assert {name.partition("_")[0] for name in layers["params"]} == {"linears", "residual", "logits"}
  assert folded.down[0][0].shape[2] == module.num_heads * module.num_codes


def test_bfloat16_weights_draw_from_logits_in_float32():
  """Codes at temperature 0 agree wherever the best logit leads clearly; noise and argmax are float32."""
  module, params, weights, keys, cond = set_up()
  light = far.fold(module, params, jnp.bfloat16)
  assert {leaf.dtype for leaf in jax.tree.leaves(light)} == {jnp.dtype(jnp.bfloat16)}
  state = far.init_state(module, 2, jnp.bfloat16)
  previous = state.previous[:, None]
  now = tuple(c[:, :1] for c in cond)
  frame = functools.partial(module.apply, method="frame")
  ours, cache = priors.jit(frame)(*light, previous, jax.tree.map(lambda c: c.astype(jnp.bfloat16), now), state.cache)
  exact, _ = priors.jit(frame)(*weights, previous, now, far.init_state(module, 2).cache)
  assert ours.dtype == jnp.float32 and {leaf.dtype for leaf in jax.tree.leaves(cache)} == {jnp.dtype(jnp.bfloat16)}
  np.testing.assert_allclose(ours, exact, atol=0.1)
  sample = priors.jit(functools.partial(far.sample_chunk, module))
  codes, _ = sample(light, state, tuple(c[:, :1] for c in cond), keys, 0, np.float32(1))
  noise = frame_noise(keys, jnp.int32(0), ours.shape[2:])
  np.testing.assert_array_equal(codes[:, 0], np.argmax(ours[:, 0] + noise, axis=-1))
