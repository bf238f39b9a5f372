"""MAR: size, causality, receptive field, and windows of any width against whole clips."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange

from tests import priors

TABLE_3 = 216.327e6


def test_full_size_has_216_289_million_parameters_and_table_3_says_38_thousand_more():
  variables = priors.shapes(priors.model("mar", ""))
  assert priors.count(variables) == 216_289_248
  assert TABLE_3 - priors.count(variables) == 37_752  # 0.017 %
  parts = {
    name: round(sum(priors.count(part) for key, part in variables["params"].items() if key.startswith(names)) / 1e6, 3)
    for name, names in {
      "audio convolutions": ("audio_encoder",),
      "audio tower": ("audio_upsampler",),
      "style convolutions": ("style_encoder",),
      "style tower": ("style_upsampler",),
      "block 1": ("linears_0", "residual_0"),
      "block 2": ("linears_1", "residual_1"),
      "block 3": ("linears_2", "residual_2"),
      "logits": ("logits",),
    }.items()
  }
  assert parts == {
    "audio convolutions": 4.017,
    "audio tower": 80.218,
    "style convolutions": 8.407,
    "style tower": 67.831,
    "block 1": 19.798,
    "block 2": 20.06,
    "block 3": 15.865,
    "logits": 0.066,
  }


def test_the_kernel6_reading_meets_table_3_within_136_parameters():
  assert priors.count(priors.shapes(priors.model("mar", "kernel6"))) == TABLE_3 + 136


def test_the_shipped_size_is_small():
  assert priors.count(priors.shapes(priors.model("mar", "demo"))) == 1_852_352


def decoder(module, length):
  """The decoder as a function of the embedded Memcodes before each position [s d], with neutral conditioning."""
  params = priors.parameters(module)
  x = np.random.default_rng(2).standard_normal((length, module.num_heads * module.embed_dim), np.float32)
  cond = (jnp.zeros((1, length, module.linear_dim)),) * len(module.blocks)

  def decode(x):
    logits, _ = module.apply(params, None, x[None], cond, 0, method="decode")
    return logits[0].reshape(length, -1)

  return decode, x


def test_no_memcode_sees_itself_or_later_ones():
  decode, x = decoder(priors.model("mar"), 30)  # row p of x is Memcode p - 1
  seen = priors.influence(lambda x: decode(x)[:, ::3], x) > 0
  np.testing.assert_array_equal(seen, np.tril(np.ones((30, 30), bool)))
  module = priors.model("mar")
  params, inputs = priors.parameters(module), priors.batch(module, 3, 1)
  apply = priors.jit(lambda codes: module.apply(params, codes, *priors.conditions(inputs)))
  other = np.array(inputs["codes"])
  other[:, 1, 2, 1] = (other[:, 1, 2, 1] + 1) % module.num_codes  # position 7 of frame 1
  before, after = (
    rearrange(apply(codes)[0], "t i j k n -> (t i j) (k n)") for codes in (inputs["codes"], jnp.asarray(other))
  )
  changed = np.asarray(before != after).any(1)
  assert not changed[: 12 + 7 + 1].any()
  assert changed[12 + 7 + 1 : 12 + 7 + 5].all()


@pytest.mark.parametrize(("arg", "memcodes", "frames"), [("", 3070, 13.7), ("demo", 664, 11.9)])
def test_receptive_field_at_full_dilations(arg, memcodes, frames):
  full = priors.model("mar", arg)
  assert full.receptive_field == memcodes
  assert round(full.receptive_field / full.positions, 1) == frames
  narrow = tuple(tuple((kernel, dilation, 3) for kernel, dilation, _ in rows) for rows in full.blocks)
  decode, x = decoder(priors.model("mar", blocks=narrow), memcodes + 5)
  by_position = np.abs(priors.jit(jax.grad(lambda x: decode(x)[-1].sum()))(x)).sum(1)
  assert not by_position[:5].any() and (by_position[5:] > 0).all()


@functools.cache
def teacher_forced(dtype):
  """A tiny MAR, its parameters, and as NumPy: previous Memcodes, conditions and logits of two whole clips."""
  module = priors.model("mar")
  params, inputs = priors.parameters(module, dtype=dtype), priors.batch(module, 4, dtype=dtype)
  whole = np.asarray(priors.jit(module.apply)(params, inputs["codes"], *priors.conditions(inputs)))
  cond = priors.jit(functools.partial(module.apply, method="condition"))(params, *priors.conditions(inputs))
  flat = rearrange(np.asarray(inputs["codes"]), "b t i j k -> b (t i j) k")
  previous = np.concatenate([np.full_like(flat[:, :1], module.num_codes), flat[:, :-1]], axis=1)
  whole = rearrange(whole, "b t i j k n -> b (t i j) k n")
  window = priors.jit(functools.partial(module.apply, method="window"))
  return module, params, previous, jax.tree.map(np.asarray, cond), whole, window


@pytest.mark.parametrize("width", [1, 5, 12])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_windows_of_any_width_equal_the_whole_clip(width, dtype, tolerance):
  """Width 1 is sequential decoding, 12 a frame of the tiny grid, all is training."""
  with jax.enable_x64(dtype == np.float64):
    module, params, previous, cond, whole, window = teacher_forced(dtype)
    assert whole.dtype == dtype
    cache = module.empty_cache(2, dtype)
    for frame in range(4):
      for position in range(0, 12, width):
        stop = min(position + width, 12)
        now = slice(12 * frame + position, 12 * frame + stop)
        here = tuple(c[:, frame, position:stop] for c in cond)
        logits, cache = window(params, cache, previous[:, now], here, np.int32(position))
        np.testing.assert_allclose(logits, whole[:, now], rtol=0, atol=tolerance)
      cache = module.next_frame(cache)


def test_writing_a_window_again_corrects_a_wrong_guess():
  """What decoding several Memcodes at once rests on: a wrong guess leaves no trace once it is overwritten."""
  module, params, previous, cond, _, window = teacher_forced(np.float32)
  empty, first = module.empty_cache(2), tuple(c[:, 0] for c in cond)
  right, clean = window(params, empty, previous[:, :12], first, np.int32(0))
  guess = previous[:, :12].copy()
  guess[:, 5:] = 0
  _, cache = window(params, empty, guess, first, np.int32(0))
  again, cache = window(params, cache, previous[:, :12], first, np.int32(0))
  np.testing.assert_array_equal(again, right)
  jax.tree.map(np.testing.assert_array_equal, cache, clean)
