"""FAR: size, causality, receptive field, and frame by frame against whole clips."""

import functools

import jax
import numpy as np
import pytest

from tests import priors

TABLE_3 = 383.484e6


def test_full_size_has_383_444_million_parameters_and_table_3_says_40_thousand_more():
  variables = priors.shapes(priors.model("far", ""))
  assert priors.count(variables) == 383_444_064
  assert TABLE_3 - priors.count(variables) == 39_936  # 0.010 %
  parts = {
    name: round(sum(priors.count(part) for key, part in variables["params"].items() if key.startswith(names)) / 1e6, 3)
    for name, names in {
      "audio convolutions": ("audio_encoder",),
      "audio tower": ("audio_upsampler",),
      "style convolutions": ("style_encoder",),
      "style tower": ("style_upsampler",),
      "down and up": ("downs", "ups"),
      "block 1": ("linears_0", "residual_0"),
      "block 2": ("linears_1", "residual_1"),
      "block 3": ("linears_2", "residual_2"),
      "logits": ("logits",),
    }.items()
  }
  assert parts == {
    "audio convolutions": 4.017,
    "audio tower": 31.458,
    "style convolutions": 9.455,
    "style tower": 19.072,
    "down and up": 100.669,
    "block 1": 77.078,
    "block 2": 64.494,
    "block 3": 77.078,
    "logits": 0.066,
  }


def test_the_kernel6_reading_meets_table_3():
  assert priors.count(priors.shapes(priors.model("far", "kernel6"))) == TABLE_3


def test_the_shipped_size_is_small():
  assert priors.count(priors.shapes(priors.model("far", "demo"))) == 1_621_600


def decoder(module, frames):
  """The decoder as a function of the embedded, padded previous frames [t (h w d)], with its parameters."""
  params, inputs = priors.parameters(module), priors.batch(module, frames, 1)
  cond = priors.jit(functools.partial(module.apply, method="condition"))(params, *priors.conditions(inputs))
  width = module.num_heads * module.embed_dim
  x = np.random.default_rng(2).standard_normal((frames, module.padded[0] * module.padded[1] * width), np.float32)

  def decode(x):
    logits, _ = module.apply(params, x.reshape(1, frames, *module.padded, width), cond, None, method="decode")
    return logits[0].reshape(frames, -1)

  return decode, x


def test_no_frame_sees_its_own_codes_or_later_ones():
  decode, x = decoder(priors.model("far"), 5)  # row t of x is frame t - 1
  seen = priors.influence(lambda x: decode(x)[:, ::7], x) > 0
  np.testing.assert_array_equal(seen, np.tril(np.ones((5, 5), bool)))
  module = priors.model("far")
  params, inputs = priors.parameters(module), priors.batch(module, 4, 1)
  apply = priors.jit(lambda codes: module.apply(params, codes, *priors.conditions(inputs)))
  other = np.array(inputs["codes"])
  other[:, 2] = (other[:, 2] + 1) % module.num_codes
  before, after = np.asarray(apply(inputs["codes"])), np.asarray(apply(other))
  np.testing.assert_array_equal(before[:, :3], after[:, :3])
  assert (before[:, 3] != after[:, 3]).all()


@pytest.mark.parametrize(("arg", "frames"), [("", 29), ("demo", 23)])
def test_receptive_field_at_full_dilations(arg, frames):
  """The paper says "do not exceed 27 frames" (C.2.2); Table 5 as printed gives 29."""
  full = priors.model("far", arg)
  assert full.receptive_field == frames
  narrow = tuple(tuple((kernel, dilation, 2) for kernel, dilation, _ in rows) for rows in full.blocks)
  tower = ((1, 2),)
  module = priors.model("far", blocks=narrow, audio_tower=tower, style_tower=tower)
  decode, x = decoder(module, frames + 4)
  by_frame = np.abs(priors.jit(jax.grad(lambda x: decode(x)[-1].sum()))(x)).sum(1)
  assert (by_frame > 0).tolist() == [False] * 4 + [True] * frames


@functools.cache
def teacher_forced(dtype):
  """A tiny FAR, its parameters, and as NumPy: previous codes, conditions and logits of two whole clips."""
  module = priors.model("far")
  params, inputs = priors.parameters(module, dtype=dtype), priors.batch(module, 6, dtype=dtype)
  whole = np.asarray(priors.jit(module.apply)(params, inputs["codes"], *priors.conditions(inputs)))
  cond = priors.jit(functools.partial(module.apply, method="condition"))(params, *priors.conditions(inputs))
  empty = np.full_like(inputs["codes"][:, :1], module.num_codes)
  previous = np.concatenate([empty, inputs["codes"][:, :-1]], axis=1)
  frame = priors.jit(functools.partial(module.apply, method="frame"))
  return module, params, previous, jax.tree.map(np.asarray, cond), whole, frame


@pytest.mark.parametrize("split", [[1] * 6, [6], [2, 1, 3]])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_frame_by_frame_equals_the_whole_clip(split, dtype, tolerance):
  with jax.enable_x64(dtype == np.float64):
    module, params, previous, cond, whole, frame = teacher_forced(dtype)
    assert whole.dtype == dtype
    cache, start = module.empty_cache(2, dtype), 0
    for width in split:
      now = slice(start, start + width)
      logits, cache = frame(params, previous[:, now], tuple(c[:, now] for c in cond), cache)
      np.testing.assert_allclose(logits, whole[:, now], rtol=0, atol=tolerance)
      start += width
