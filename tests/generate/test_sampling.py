"""Cached sampling against teacher forcing, chunks against the whole, noise against its batch; FAR and MAR alike."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax.generate import far, mar
from nwt_jax.generate.chunks import make_chunk
from nwt_jax.generate.noise import draw, frame_noise
from nwt_jax.generate.verify import redraw
from tests import priors

SAMPLERS = {"far": far, "mar": mar}
FRAMES = 6


@functools.cache
def set_up(family, dtype=np.float32):
  """A tiny prior, folded weights, inputs, keys, conditions, and two programs: cached sampling, uncached drawing."""
  module = priors.model(family)
  params, inputs = priors.parameters(module, dtype=dtype), priors.batch(module, FRAMES, dtype=dtype)
  keys = jax.random.split(jax.random.key(0), 2)
  condition = priors.jit(functools.partial(module.apply, method="condition"))
  sample = priors.jit(functools.partial(SAMPLERS[family].sample_chunk, module))
  weights = priors.jit(functools.partial(SAMPLERS[family].fold, module))(params)

  def again(params, codes, keys, temperature):
    return redraw(module, params, codes, *priors.conditions(inputs), keys, temperature)

  cond = condition(params, *priors.conditions(inputs))
  return module, params, weights, inputs, keys, cond, sample, priors.jit(again)


@pytest.mark.parametrize("family", ["far", "mar"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_cached_sampling_equals_rerunning_the_whole_model(family, dtype, temperature):
  """If teacher forcing on the sample draws the sample again at every position, so would uncached sampling, one by one.

  Exactly in float64. In float32 a difference must be a near-tie: see the gap."""
  with jax.enable_x64(dtype == np.float64):
    module, params, weights, _, keys, cond, sample, again = set_up(family, dtype)
    state = SAMPLERS[family].init_state(module, 2, dtype)
    codes, _ = sample(weights, state, cond, keys, 0, dtype(temperature))
    drawn, gap = again(params, np.asarray(codes, np.int32), keys, dtype(temperature))
    assert gap.dtype == dtype and np.median(gap) > 1e-2  # so that a near-tie is rare
    differs = np.asarray(drawn) != np.asarray(codes)
    assert not differs.any() if dtype == np.float64 else (np.asarray(gap)[differs] < 1e-4).all()
    assert len(np.unique(codes)) > 1


@pytest.mark.parametrize("family", ["far", "mar"])
def test_a_clip_does_not_depend_on_its_batch(family):
  module, _, weights, _, keys, cond, sample, _ = set_up(family)
  both, _ = sample(weights, SAMPLERS[family].init_state(module, 2), cond, keys, 0, np.float32(1))
  alone, _ = sample(
    weights,
    SAMPLERS[family].init_state(module, 1),
    jax.tree.map(lambda c: np.asarray(c)[1:], cond),
    keys[1:],
    0,
    np.float32(1),
  )
  np.testing.assert_array_equal(alone, both[1:])
  assert both.dtype == np.uint8 and both.max() < module.num_codes
  assert (np.asarray(both[0]) != np.asarray(both[1])).any()


@pytest.mark.parametrize("family", ["far", "mar"])
def test_chunks_equal_the_whole_clip_and_carry_a_state_of_one_size(family):
  """4 frames a chunk over 6: the second window of speech reaches past the clip's end."""
  module, params, weights, inputs, keys, cond, sample, _ = set_up(family)
  mel, style, episode = map(np.asarray, priors.conditions(inputs))
  state, pieces = SAMPLERS[family].init_state(module, 2), []
  whole, _ = sample(weights, state, cond, keys, 0, np.float32(1))
  chunk = priors.jit(make_chunk(module, SAMPLERS[family].sample_chunk, 4))
  for start in (0, 4):
    around = np.arange(start - module.look_back, start + 4 + module.look_ahead)
    at = np.clip(around, 0, FRAMES - 1)
    valid = np.stack([around == at] * 2).astype(np.float32)
    window = mel.reshape(2, FRAMES, -1, 80)[:, at].reshape(2, -1, 80)
    codes, after = chunk(params, weights, state, window, valid, style, episode[:, at], keys, start, np.float32(1))
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    state = after
    pieces.append(codes)
  np.testing.assert_array_equal(np.concatenate(pieces, 1)[:, :FRAMES], whole)


def test_noise_depends_on_key_and_frame_alone_and_is_finite():
  keys = jax.random.split(jax.random.key(3), 2)
  noise = frame_noise(keys, jnp.int32(5), (4, 3, 2, 8))
  np.testing.assert_array_equal(frame_noise(keys[1:], jnp.int32(5), (4, 3, 2, 8))[0], noise[1])
  wanted = jax.random.gumbel(jax.random.fold_in(keys[0], 5), (4, 3, 2, 8))
  np.testing.assert_array_equal(noise[0], wanted)
  assert np.isfinite(noise).all()
  assert (np.asarray(noise) != np.asarray(frame_noise(keys, jnp.int32(6), (4, 3, 2, 8)))).all()


def test_draw_follows_softmax_of_logits_over_temperature():
  logits = jnp.array([1.0, 0.0, -0.5])
  noise = jax.random.gumbel(jax.random.key(0), (40_000, 3))
  for temperature in (1.0, 0.5):
    counts = np.bincount(draw(logits[None], noise, temperature), minlength=3) / 40_000
    wanted = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    np.testing.assert_allclose(counts, wanted, atol=4 * 0.5 / np.sqrt(40_000))  # 4 standard errors
  assert (np.asarray(draw(logits[None], noise, 0.0)) == 0).all()
