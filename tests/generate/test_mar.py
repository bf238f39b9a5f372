"""MAR's ways to sample: folded weights, tiles of any size, sequential or by fixed point, against the plain scan."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange

from nwt_jax.generate import mar, mar_reference
from nwt_jax.generate.mar_tiles import segment_length, tile_size
from tests import priors

FRAMES = 5
VARIANTS = {
  "tiny": {},
  "a row of its own for empty": {"learned_empty": True},
  "widths agree, no shortcut": {"blocks": (((4, 1, 12), (4, 2, 8)), ((4, 3, 8),), ((4, 5, 12), (2, 17, 8)))},
  "no bias in the shortcut, a wide first row": {"shortcut_bias": False, "blocks": (((3, 9, 12),), ((4, 8, 12),))},
}


@functools.cache
def set_up(dtype, variant="tiny"):
  """A tiny MAR: variables, what folds them for tiles of a size, conditions and keys of two clips."""
  module = priors.model("mar", **VARIANTS[variant])
  params, inputs = priors.parameters(module, dtype=dtype), priors.batch(module, FRAMES, dtype=dtype)
  cond = priors.jit(functools.partial(module.apply, method="condition"))(params, *priors.conditions(inputs))
  weights = functools.cache(lambda most=mar.TILE: priors.jit(functools.partial(mar.fold, module, most=most))(params))
  return module, params, weights, cond, jax.random.split(jax.random.key(5), 2)


@functools.cache
def truth(variant, temperature):
  """What the plain cached scan draws, in float64."""
  with jax.enable_x64(True):
    module, params, _, cond, keys = set_up(np.float64, variant)
    sample = priors.jit(functools.partial(mar_reference.sample_chunk, module))
    state = mar_reference.init_state(module, 2, np.float64)
    codes, after = sample(params, state, cond, keys, 0, np.float64(temperature))
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert len(np.unique(codes)) > 1
    return np.asarray(codes)


@pytest.mark.parametrize(("parallel", "most"), [(False, 4), (True, 1), (True, 12)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_way_gives_the_plain_scans_memcodes(variant, parallel, most):
  with jax.enable_x64(True):
    module, _, weights, cond, keys = set_up(np.float64, variant)
    sample = priors.jit(functools.partial(mar.sample_chunk, module, parallel=parallel))
    state = mar.init_state(module, 2, np.float64, most)
    codes, after = sample(weights(most), state, cond, keys, 0, np.float64(1))
    np.testing.assert_array_equal(codes, truth(variant, 1.0))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    positions = FRAMES * module.positions
    wanted = (positions, positions + 1) if most == 1 or not parallel else (positions / most, positions)
    assert wanted[0] <= after.num_evals < wanted[1]


@pytest.mark.parametrize("parallel", [False, True])
def test_chunks_that_split_anywhere_equal_the_whole(parallel):
  module, _, weights, cond, keys = set_up(np.float32)
  sample = priors.jit(functools.partial(mar.sample_chunk, module, parallel=parallel))
  state = mar.init_state(module, 2)
  whole, _ = sample(weights(), state, cond, keys, 0, np.float32(1))
  pieces = []
  for start, stop in ((0, 1), (1, 4), (4, 5)):
    codes, state = sample(weights(), state, tuple(c[:, start:stop] for c in cond), keys, start, np.float32(1))
    pieces.append(codes)
  np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


def test_a_right_guess_is_confirmed_at_once_and_a_wrong_one_costs_no_memcode():
  """The guess is the frame before: put the sample itself there, and every tile takes one evaluation."""
  module, _, weights, cond, keys = set_up(np.float32)
  sample = priors.jit(functools.partial(mar.sample_chunk, module))
  first = tuple(c[:, :1] for c in cond)
  state = mar.init_state(module, 2)
  codes, after = sample(weights(), state, first, keys, 0, np.float32(1))
  size = tile_size(module)
  assert after.num_evals > module.positions // size
  guess = rearrange(codes, "b 1 i j k -> b 1 (i j) k").astype(np.int32)
  for right, frame in ((True, guess), (False, (guess + 1) % module.num_codes)):
    state = mar.init_state(module, 2).replace(frame=frame.reshape(mar.init_state(module, 2).frame.shape))
    again, after = sample(weights(), state, first, keys, 0, np.float32(1))
    np.testing.assert_array_equal(again, codes)
    assert (after.num_evals == module.positions // size) == right


def test_weights_for_other_tiles_are_refused():
  module, _, weights, cond, keys = set_up(np.float32)
  with pytest.raises(ValueError, match="tiles of 12 positions, the weights for others"):
    mar.sample_chunk(module, weights(4), mar.init_state(module, 2, most=12), cond, keys, 0, 1.0)


def test_tile_sizes_divide_a_frame():
  full = priors.model("mar", "")
  assert [tile_size(full, most) for most in (1, 8, 15, 64, 224)] == [1, 8, 14, 56, 224]
  assert [segment_length(full, size) for size in (1, 8, 56, 224)] == [56, 56, 56, 224]


def test_bfloat16_weights_give_float32_scores_close_to_float32_ones():
  """The same first frame in both: most codes agree, and the state is kept in bfloat16."""
  module, params, weights, cond, keys = set_up(np.float32)
  sample = priors.jit(functools.partial(mar.sample_chunk, module))
  rough = priors.jit(functools.partial(mar.fold, module, dtype=jnp.bfloat16))(params)
  assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(rough))
  first = tuple(c[:, :1] for c in cond)
  exact, _ = sample(weights(), mar.init_state(module, 2), first, keys, 0, np.float32(1))
  codes, after = sample(rough, mar.init_state(module, 2, jnp.bfloat16), first, keys, 0, np.float32(1))
  assert all(ring.dtype == jnp.bfloat16 for ring in after.caches)
  assert np.mean(np.asarray(codes) == exact) > 0.9
