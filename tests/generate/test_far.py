"""FAR's folded weights: sampling with them equals the whole model without cache or folding; what `fold` leaves out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax.generate import far
from nwt_jax.generate.noise import frame_noise
from nwt_jax.generate.uncached import redraw
from tests import priors

FRAMES = 6
CHANGES = {"tiny": {}, "learned_empty": {"learned_empty": True}}


@functools.cache
def set_up(dtype=np.float32, changes="tiny"):
  """A tiny FAR, its parameters, weights, inputs, keys and conditions, and the program that samples."""
  module = priors.model("far", **CHANGES[changes])
  params, inputs = priors.parameters(module, dtype=dtype), priors.batch(module, FRAMES, dtype=dtype)
  cond = priors.jit(functools.partial(module.apply, method="condition"))(params, *priors.conditions(inputs))
  weights = priors.jit(functools.partial(far.fold, module))(params)
  sample = priors.jit(functools.partial(far.sample_chunk, module))
  return module, params, weights, inputs, jax.random.split(jax.random.key(0), 2), cond, sample


@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_sampling_with_folded_weights_equals_rerunning_the_whole_model(changes, dtype, temperature):
  """Exactly in float64; in float32 where they differ, the two best scores nearly tie."""
  with jax.enable_x64(dtype == np.float64):
    module, params, weights, inputs, keys, cond, sample = set_up(dtype, changes)
    codes, _ = sample(weights, far.init_state(module, 2, dtype), cond, keys, 0, dtype(temperature))
    again = priors.jit(functools.partial(redraw, module))
    conditions = priors.conditions(inputs)
    drawn, gap = again(params, jnp.asarray(codes, jnp.int32), *conditions, keys, dtype(temperature))
    assert gap.dtype == dtype and np.median(gap) > 1e-2  # so that a near-tie is rare
    differs = np.asarray(drawn) != np.asarray(codes)
    assert not differs.any() if dtype == np.float64 else (np.asarray(gap)[differs] < 1e-4).all()
    assert len(np.unique(codes)) > 1


def test_a_clip_does_not_depend_on_its_batch():
  module, _, weights, _, keys, cond, sample = set_up()
  both, _ = sample(weights, far.init_state(module, 2), cond, keys, 0, np.float32(1))
  alone = tuple(np.asarray(c)[1:] for c in cond)
  alone, _ = sample(weights, far.init_state(module, 1), alone, keys[1:], 0, np.float32(1))
  np.testing.assert_array_equal(alone, both[1:])
  assert both.dtype == np.uint8 and (np.asarray(both[0]) != np.asarray(both[1])).any()


def test_chunks_equal_the_whole_and_the_state_keeps_its_size():
  module, _, weights, _, keys, cond, sample = set_up()
  state = far.init_state(module, 2)
  whole, _ = sample(weights, state, cond, keys, 0, np.float32(1))
  pieces, sizes = [], jax.tree.map(lambda x: (x.shape, x.dtype), state)
  for first in range(0, FRAMES, 2):
    codes, state = sample(weights, state, tuple(c[:, first : first + 2] for c in cond), keys, first, np.float32(1))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == sizes
    pieces.append(codes)
  np.testing.assert_array_equal(np.concatenate(pieces, 1), whole)


def test_fold_keeps_nothing_that_only_conditions_read():
  module, _, weights, _, _, _, _ = set_up()
  layers, folded = weights
  assert {name.partition("_")[0] for name in layers["params"]} == {"linears", "residual", "logits"}
  assert folded.down[0][0].shape[2] == module.num_heads * module.num_codes


def test_bfloat16_weights_draw_from_logits_in_float32():
  """Codes at temperature 0 agree wherever the best logit leads clearly; noise and argmax are float32."""
  module, params, weights, _, keys, cond, sample = set_up()
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
  codes, _ = sample(light, state, tuple(c[:, :1] for c in cond), keys, 0, np.float32(1))
  noise = frame_noise(keys, jnp.int32(0), ours.shape[2:])
  np.testing.assert_array_equal(codes[:, 0], np.argmax(ours[:, 0] + noise, axis=-1))
