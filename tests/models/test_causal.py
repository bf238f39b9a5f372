"""Causal convolutions: against sums written out, and in pieces against in one go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from nwt_jax.models.causal import (
  CausalConv1D,
  CausalConv3D,
  ResidualBlock,
  conv_frames,
  conv_memcodes,
  mish,
  roll,
  row_widths,
)
from tests import priors


def test_mish_and_its_gradient_equal_jax_nn_mish():
  x = jnp.linspace(-90, 90, 721)
  np.testing.assert_allclose(priors.jit(mish)(x), priors.jit(jax.nn.mish)(x), rtol=2e-6, atol=1e-30)
  ours, theirs = (priors.jit(jax.vmap(jax.grad(f)))(x) for f in (mish, jax.nn.mish))
  np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kernel", "dilation", "stride"), [((3, 2, 2), 2, 1), ((3, 1, 1), 4, 1), ((2, 2, 2), 1, 2)])
def test_conv_frames_equals_a_dilated_3d_convolution(kernel, dilation, stride):
  draw = np.random.default_rng(0)
  x = jnp.asarray(draw.standard_normal((2, 11, 5, 4, 3)), jnp.float32)
  w = jnp.asarray(draw.standard_normal((*kernel, 3, 6)), jnp.float32)
  space = lax.padtype_to_pads(x.shape[2:4], kernel[1:], (stride, stride), "SAME")
  wanted = lax.conv_general_dilated(
    x, w, (1, stride, stride), [(0, 0), *space], rhs_dilation=(dilation, 1, 1),
    dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
  )  # fmt: skip
  ours = priors.jit(lambda x, w: conv_frames(x, w, dilation, stride))(x, w)
  np.testing.assert_allclose(ours, wanted, rtol=2e-5, atol=2e-5)


def test_conv_memcodes_equals_the_sum_over_its_taps():
  draw = np.random.default_rng(0)
  x = jnp.asarray(draw.standard_normal((2, 20, 3)), jnp.float32)
  module = CausalConv1D(4, 3, 5)
  params = {"kernel": jnp.asarray(draw.standard_normal((4, 3, 5)), jnp.float32), "bias": jnp.arange(5.0)}
  y, cache = module.apply({"params": params}, x, None, 0)
  wanted = np.zeros((2, 20, 5)) + np.asarray(params["bias"])
  for t in range(20):
    for tap in range(4):  # the last tap is the present
      seen = t - (3 - tap) * 3
      if seen >= 0:
        wanted[:, t] += np.asarray(x[:, seen] @ params["kernel"][tap])
  np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)
  assert cache.shape == (2, 9 + 20, 3)


@pytest.mark.parametrize("widths", [[1] * 12, [12], [5, 7], [2, 3, 1, 6]])
def test_a_linear_cache_gives_any_split_the_same_outputs(widths):
  """Two frames of 12 positions through a cache with room for one."""
  draw = np.random.default_rng(0)
  rows = ((4, 1, 3), (4, 7, 6))
  block = ResidualBlock(CausalConv1D, rows, True)
  x = jnp.asarray(draw.standard_normal((2, 24, 3)), jnp.float32)
  params = {
    "row_0": {"kernel": draw.standard_normal((4, 3, 3)), "bias": draw.standard_normal(3)},
    "row_1": {"kernel": draw.standard_normal((4, 3, 6)), "bias": draw.standard_normal(6)},
    "shortcut": {"kernel": draw.standard_normal((3, 6)), "bias": draw.standard_normal(6)},
  }
  params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
  apply = priors.jit(block.apply)
  whole, _ = priors.jit(lambda x: block.apply({"params": params}, x, None, 0))(x)
  caches = tuple(
    jnp.zeros((2, (kernel - 1) * dilation + 12, width))
    for (kernel, dilation, _), width in zip(rows, row_widths(3, rows), strict=True)
  )
  pieces = []
  for frame in range(2):
    position = 0
    for width in widths:
      start = 12 * frame + position
      y, caches = apply({"params": params}, x[:, start : start + width], caches, jnp.int32(position))
      pieces.append(y)
      position += width
    caches = tuple(roll(cache, 12) for cache in caches)
  np.testing.assert_allclose(jnp.concatenate(pieces, 1), whole, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("split", [[1] * 7, [7], [3, 4]])
def test_the_cache_of_a_3d_convolution_gives_any_split_the_same_outputs(split):
  draw = np.random.default_rng(0)
  module = CausalConv3D((3, 2, 2), 2, 4)
  x = jnp.asarray(draw.standard_normal((2, 7, 3, 2, 3)), jnp.float32)
  kernel = jnp.asarray(draw.standard_normal((3, 2, 2, 3, 4)), jnp.float32)
  variables = {"params": {"kernel": kernel, "bias": jnp.ones(4)}}
  apply = priors.jit(module.apply)
  whole, last = apply(variables, x, None)
  cache, pieces, start = jnp.zeros((2, 4, 3, 2, 3)), [], 0
  for width in split:
    y, cache = apply(variables, x[:, start : start + width], cache)
    pieces.append(y)
    start += width
  np.testing.assert_allclose(jnp.concatenate(pieces, 1), whole, rtol=2e-5, atol=2e-5)
  np.testing.assert_array_equal(cache, last)


@pytest.mark.parametrize("dilation", [1, 4])
def test_both_forms_of_conv_memcodes_are_equal_and_gpus_get_no_dilation(dilation):
  with jax.enable_x64(True):
    draw = np.random.default_rng(0)
    x, kernel = draw.standard_normal((2, 16 + 3 * dilation, 3)), draw.standard_normal((4, 3, 5))
    taps = np.concatenate([x[:, n * dilation :][:, :16] for n in range(4)], axis=-1)
    whole = jax.jit(lambda x, kernel: conv_memcodes(x, kernel, dilation, 16, 0))
    np.testing.assert_allclose(whole(x, kernel), taps @ kernel.reshape(12, 5), rtol=0, atol=1e-12)
  loss = jax.jit(jax.grad(lambda x, kernel: (conv_memcodes(x, kernel, dilation, 16, 0) ** 2).sum(), (0, 1)))
  traced = loss.trace(x.astype(np.float32), kernel.astype(np.float32))
  lowered = {platform: traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda", "tpu")}
  assert {platform: "stablehlo.convolution" in text for platform, text in lowered.items()} == {
    "cpu": True, "cuda": False, "tpu": False,
  }  # fmt: skip


@pytest.mark.parametrize(("kernel", "dilation", "stride"), [((3, 2, 2), 2, 1), ((1, 4, 4), 1, 2), ((2, 3, 3), 1, 1)])
def test_a_frame_by_itself_is_a_product_of_patches_and_the_same(kernel, dilation, stride):
  """Few outputs take another form than many: a clip of 9 frames at once against each of them alone."""
  draw = np.random.default_rng(0)
  with jax.enable_x64(True):
    x, weight = (
      draw.standard_normal((2, 9 + (kernel[0] - 1) * dilation, 5, 4, 3)),
      draw.standard_normal((*kernel, 3, 7)),
    )
    conv = lambda x: conv_frames(x, jnp.asarray(weight), dilation, stride)
    many = priors.jit(conv)(x)
    assert "conv_general_dilated" in str(jax.make_jaxpr(conv)(x))
    for frame in range(9):
      alone = x[:, frame : frame + 1 + (kernel[0] - 1) * dilation]
      assert "conv_general_dilated" not in str(jax.make_jaxpr(conv)(alone))
      np.testing.assert_allclose(priors.jit(conv)(alone)[:, 0], many[:, frame], rtol=0, atol=1e-12)
