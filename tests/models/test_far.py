"""FAR: size, causality, receptive field, and frame by frame against whole clips."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax.models.causal import for_mish, mish
from nwt_jax.models.far import Convolution
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
  """The decoder as a function of the one-hot, padded previous frames [t (h w k n)], with its parameters."""
  params, inputs = priors.parameters(module), priors.batch(module, frames, 1)
  cond = priors.jit(functools.partial(module.apply, method="condition"))(params, *priors.conditions(inputs))
  folded = priors.jit(functools.partial(module.apply, method="fold"))(params)
  width = module.num_heads * module.num_codes
  x = np.random.default_rng(2).standard_normal((frames, module.padded[0] * module.padded[1] * width), np.float32)

  def decode(x):
    x = x.reshape(1, frames, *module.padded, width)
    logits, _ = module.apply(params, folded, x, cond, None, method="decode")
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
  folded = priors.jit(functools.partial(module.apply, method="fold"))(params)
  frame = functools.partial(priors.jit(functools.partial(module.apply, method="frame")), params, folded)
  return module, previous, jax.tree.map(np.asarray, cond), whole, frame


@pytest.mark.parametrize("split", [[1] * 6, [6], [2, 1, 3]])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_frame_by_frame_equals_the_whole_clip(split, dtype, tolerance):
  with jax.enable_x64(dtype == np.float64):
    module, previous, cond, whole, frame = teacher_forced(dtype)
    assert whole.dtype == dtype
    cache, start = module.empty_cache(2, dtype), 0
    for width in split:
      now = slice(start, start + width)
      logits, cache = frame(previous[:, now], tuple(c[:, now] for c in cond), cache)
      np.testing.assert_allclose(logits, whole[:, now], rtol=0, atol=tolerance)
      start += width


def as_printed(module, params, codes, conditions):
  """Table 5 word for word: embedding, strided convolutions, ..., upsampling by repetition and then a convolution."""
  weights, bound = params["params"], module.bind(params)
  x = jnp.pad(codes[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)), constant_values=module.num_codes)
  below, right = (pad - size for pad, size in zip(module.padded, module.grid, strict=True))
  x = bound.embed(jnp.pad(x, ((0, 0), (0, 0), (0, below), (0, right), (0, 0)), constant_values=module.num_codes))
  for n, (k, s, features) in enumerate(module.down):
    x = mish(nn.Conv(features, (k, k), (s, s)).apply({"params": weights[f"downs_{n}"]}, x))
  for n, condition in enumerate(bound.condition(*conditions)):
    x, _ = bound.residual[n](bound.linears[n](x, condition), None)
  for n, (k, s, features) in enumerate(module.up):
    x = jnp.repeat(jnp.repeat(x, s, axis=2), s, axis=3)
    x = mish(nn.Conv(features, (k, k)).apply({"params": weights[f"ups_{n}"]}, x))
  logits = bound.logits(x[:, :, : module.grid[0], : module.grid[1]])
  return logits.reshape(*logits.shape[:-1], module.num_heads, module.num_codes)


CHANGES = {
  "tiny": {},
  "empty embeds as a row of its own": {"learned_empty": True},
  "kernels and strides of Table 5": {
    "down": ((4, 2, 8), (4, 1, 6), (4, 2, 8)),
    "up": ((4, 2, 6), (4, 1, 8), (4, 2, 6)),
    "padded": (8, 8),
    "grid": (8, 7),
  },
  "odd kernels": {"down": ((3, 2, 8),), "up": ((3, 2, 8),)},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_folded_layers_equal_table_5_as_printed(changes):
  with jax.enable_x64(True):
    module = priors.model("far", **changes)
    params, inputs = priors.parameters(module, dtype=np.float64), priors.batch(module, 4, dtype=np.float64)
    codes = inputs["codes"].at[0, 1, 0, 0, 0].set(module.num_codes)  # an empty code amid others
    expected = priors.jit(functools.partial(as_printed, module))(params, codes, priors.conditions(inputs))
    ours = priors.jit(module.apply)(params, codes, *priors.conditions(inputs))
    assert ours.dtype == np.float64 and np.std(expected) > 1e-2
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_initial_values_are_those_of_plain_convolutions():
  """So that a seed trains what it trained before these layers were folded."""
  module = priors.model("far")
  ours = Convolution((4, 4, 3, 5)).init(jax.random.key(0))
  plain = nn.Conv(5, (4, 4), kernel_init=for_mish).init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
  jax.tree.map(np.testing.assert_array_equal, ours, plain)
  assert {"downs_0", "ups_0"} < set(priors.shapes(module)["params"])
