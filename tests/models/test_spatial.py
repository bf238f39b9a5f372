"""Spatially connected layers against a loop over positions."""

import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax.models.spatial import SpatiallyConnected, Tower, keep_valid, same_margins
from tests import priors


def naive(x, kernel, bias, shape, endless):
  """Every output is its own dot product: [b t i j c] with kernel [i j kt*kh*kw*c f]."""
  x, kernel = np.asarray(x), np.asarray(kernel)
  b, t, rows, columns, _ = x.shape
  before = tuple(same_margins(size)[0] for size in shape)
  y = np.zeros((b, t, rows, columns, kernel.shape[-1])) + np.asarray(bias)
  for frame, i, j in np.ndindex(t, rows, columns):
    for n, (dt, di, dj) in enumerate(np.ndindex(*shape)):
      at, row, column = frame + dt - before[0], i + di - before[1], j + dj - before[2]
      if endless:
        at = min(max(at, 0), t - 1)
      if 0 <= at < t and 0 <= row < rows and 0 <= column < columns:
        c = x.shape[-1]
        y[:, frame, i, j] += x[:, at, row, column] @ kernel[i, j, n * c : (n + 1) * c]
  return y


@pytest.mark.parametrize(
  ("shape", "endless"), [((3, 2, 2), False), ((3, 2, 2), True), ((1, 3, 2), False), ((2, 2, 3), False)]
)
def test_sc3d_equals_a_loop_over_places(shape, endless):
  draw = np.random.default_rng(0)
  x = jnp.asarray(draw.standard_normal((2, 4, 3, 5, 2)), jnp.float32)
  kernel = jnp.asarray(draw.standard_normal((3, 5, np.prod(shape) * 2, 3)), jnp.float32)
  bias = jnp.array([0.5, -1, 2])
  module, variables = SpatiallyConnected(shape, 3), {"params": {"kernel": kernel, "bias": bias}}
  y = priors.jit(lambda variables, x: module.apply(variables, x, endless))(variables, x)
  np.testing.assert_allclose(y, naive(x, kernel, bias, shape, endless), rtol=1e-5, atol=1e-5)


def test_tower_doubles_crops_before_its_last_layer_and_zeroes_frames_outside_the_clip():
  draw = np.random.default_rng(0)
  tower = Tower(((1, 3), (2, 2)), (3, 2, 2), (4, 3))
  layers = {"stage0_0": (2, 2, 12 * 5, 3), "stage1_0": (4, 4, 12 * 3, 2), "stage1_1": (4, 3, 12 * 2, 2)}
  params = {
    name: {"kernel": jnp.asarray(draw.standard_normal(shape), jnp.float32), "bias": jnp.ones(shape[-1])}
    for name, shape in layers.items()
  }
  x = jnp.asarray(draw.standard_normal((1, 6, 5)), jnp.float32)
  valid = jnp.array([[0.0, 1, 1, 1, 1, 0]])
  apply = priors.jit(tower.apply)
  y = apply({"params": params}, keep_valid(x, valid), valid)
  assert y.shape == (1, 6, 4, 3, 2)
  assert not np.asarray(y[:, [0, 5]]).any()
  np.testing.assert_allclose(y[:, 1:5], apply({"params": params}, x[:, 1:5]), rtol=1e-5, atol=1e-5)


def test_an_endless_tower_equals_the_middle_of_a_long_tiled_clip():
  draw = np.random.default_rng(0)
  tower = Tower(((2, 3),), (3, 2, 2), (2, 2))
  params = {
    name: {"kernel": jnp.asarray(draw.standard_normal((2, 2, 12 * width, 3)), jnp.float32), "bias": jnp.ones(3)}
    for name, width in (("stage0_0", 5), ("stage0_1", 3))
  }
  style = jnp.asarray(draw.standard_normal((1, 1, 5)), jnp.float32)
  long = priors.jit(tower.apply)({"params": params}, jnp.repeat(style, 9, axis=1))
  one = priors.jit(lambda x: tower.apply({"params": params}, x, endless=True))(style)
  np.testing.assert_allclose(one[:, 0], long[:, 4], rtol=1e-5, atol=1e-5)
  assert np.abs(long[:, 0] - long[:, 4]).max() > 1e-2  # the ends of a tiled clip see zeros
