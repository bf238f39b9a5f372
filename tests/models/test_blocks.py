"""Our forms of convolution against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax.models import blocks


@pytest.mark.parametrize("height, width", [(8, 16), (4, 4)])  # larger and smaller than what the kernel takes
@pytest.mark.parametrize(
  "kernel, stride, groups", [(4, 1, 1), (2, 1, 1), (4, 2, 1), (4, 4, 1), (8, 4, 2), (4, 2, 4), (2, 1, 4)]
)
def test_conv2d_equals_native(kernel, stride, groups, height, width):
  x = jax.random.normal(jax.random.key(0), (2, 2, height, width, 4))
  weights = jax.random.normal(jax.random.key(1), (kernel, kernel, 4 // groups, 8))
  native = jax.lax.conv_general_dilated(
    x.reshape(4, height, width, 4), weights, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )  # fmt: skip
  ours = blocks.conv2d(x, weights, stride, groups)
  np.testing.assert_allclose(ours.reshape(native.shape), native, atol=1e-4)


@pytest.mark.parametrize("height, width", [(5, 4), (1, 1), (2, 3)])
@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_merged_taps_equal_repetition_and_convolution(kernel, scale, height, width):
  with jax.enable_x64(True):
    draw = np.random.default_rng(0)
    x, weights = draw.standard_normal((2, 2, height, width, 3)), draw.standard_normal((kernel, kernel, 3, 6))
    repeated = np.kron(x, np.ones((1, 1, scale, scale, 1))).reshape(4, scale * height, scale * width, 3)
    expected = jax.lax.conv_general_dilated(
      repeated, weights, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    phases = blocks.merge_taps(jnp.asarray(weights), scale)
    ours = blocks.upsampled_conv(jnp.asarray(x), phases, kernel)
    np.testing.assert_allclose(ours.reshape(expected.shape), expected, rtol=0, atol=1e-12)
    assert sum(phase.shape[0] * phase.shape[1] for row in phases for phase in row) == (kernel + scale - 1) ** 2


def test_upconv_equals_repetition_and_convolution():
  x = jax.random.normal(jax.random.key(0), (1, 2, 5, 4, 3))
  module = blocks.UpConv(6, 4)
  params = jax.tree.map(lambda p: p + 0.1, module.init(jax.random.key(1), x))
  repeated = jnp.repeat(jnp.repeat(x, 2, axis=2), 2, axis=3)
  expected = blocks.conv2d(repeated, params["params"]["kernel"][0]) + params["params"]["bias"].reshape(1, 1, 1, 1, 6)
  np.testing.assert_allclose(module.apply(params, x), expected, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_conv_over_time_equals_native_3d(frames):
  x = jax.random.normal(jax.random.key(0), (2, 5, 6, 4, 3))
  module = blocks.Conv(7, (frames, 2, 2))
  params = module.init(jax.random.key(1), x)
  native = jax.lax.conv_general_dilated(
    x, params["params"]["kernel"], (1, 1, 1), "SAME", dimension_numbers=("NTHWC", "THWIO", "NTHWC")
  )
  np.testing.assert_allclose(module.apply(params, x), native, atol=1e-5)


def test_a_window_with_its_mask_equals_the_whole_clip():
  layers = ((4, 5), (2, 6), (2, 5))
  before, after = blocks.temporal_margins(layers)
  assert (before, after) == (1, 4)
  x = jax.random.normal(jax.random.key(0), (1, 12, 2, 3, 4))
  module = blocks.Temporal(layers)
  params = module.init(jax.random.key(1), x)
  # biases other than zero: without the mask, padding would leak through them
  params = jax.tree.map(lambda p: p + 0.1, params)
  whole = module.apply(params, x)
  for start in (0, 4, 8):
    low, high = start - before, start + 4 + after
    index = jnp.arange(low, high)
    valid = ((index >= 0) & (index < 12)).astype(jnp.float32)[None]
    part = x[:, jnp.clip(index, 0, 11)]
    np.testing.assert_allclose(
      module.apply(params, part, valid)[:, before : before + 4], whole[:, start : start + 4], atol=1e-5
    )


def test_margins_by_jacobian():
  layers = ((4, 2), (2, 2))
  before, after = blocks.temporal_margins(layers)
  module = blocks.Temporal(layers)
  x = jax.random.normal(jax.random.key(0), (1, 11, 2, 2, 2))
  params = module.init(jax.random.key(1), x)
  jacobian = jax.jacobian(lambda v: module.apply(params, v)[0, 5].sum())(x)
  reached = np.flatnonzero(np.abs(jacobian).sum(axis=(0, 2, 3, 4)))
  assert reached.min() >= 5 - before and reached.max() <= 5 + after
  assert reached.max() == 5 + after and reached.min() == 5 - before


def test_a_kernel_that_the_stride_does_not_divide_is_refused():
  with pytest.raises(ValueError, match="no multiple of stride"):
    blocks.conv2d(jnp.zeros((1, 1, 8, 8, 1)), jnp.zeros((3, 3, 1, 1)), 2)
