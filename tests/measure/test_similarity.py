"""SSIM and PSNR against their definitions written out in NumPy."""

import numpy as np
import pytest

from nwt_jax.measure.similarity import psnr, ssim, ssim_map


@pytest.fixture
def pair():
  rng = np.random.default_rng(0)
  ramp = np.linspace(0, 200, 32)[None, :, None] + np.zeros((24, 1, 3))
  a = np.clip(ramp + rng.normal(0, 12, ramp.shape), 0, 255).astype(np.uint8)
  b = np.clip(a + rng.normal(4, 10, a.shape), 0, 255).astype(np.uint8)
  return a, b


def test_ssim_is_the_formula_of_wang_2004(pair):
  a, b = (frame.astype(np.float64) for frame in pair)
  x = np.arange(-5, 6)
  window = np.exp(-(x[:, None] ** 2 + x[None, :] ** 2) / (2 * 1.5**2))[..., None]
  window /= window.sum()
  found = ssim_map(*pair)
  for row, column in ((5, 5), (12, 20), (18, 26)):
    p, q = (f[row - 5 : row + 6, column - 5 : column + 6] for f in (a, b))
    mean_p, mean_q = (p * window).sum((0, 1)), (q * window).sum((0, 1))
    var_p, var_q = ((p - mean_p) ** 2 * window).sum((0, 1)), ((q - mean_q) ** 2 * window).sum((0, 1))
    cov = ((p - mean_p) * (q - mean_q) * window).sum((0, 1))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    want = (2 * mean_p * mean_q + c1) * (2 * cov + c2) / ((mean_p**2 + mean_q**2 + c1) * (var_p + var_q + c2))
    np.testing.assert_allclose(found[row, column], want, rtol=1e-6)


def test_equal_frames_score_one_and_noise_scores_less(pair):
  a, _ = pair
  rng = np.random.default_rng(1)
  noisy = [np.clip(a + rng.normal(0, s, a.shape), 0, 255).astype(np.uint8) for s in (0, 5, 15, 40)]
  scores = ssim(np.stack([a] * 4), np.stack(noisy))
  assert scores[0] == pytest.approx(1)
  assert (np.diff(scores) < 0).all()


def test_psnr_of_a_known_error():
  a = np.full((2, 8, 8, 3), 100, np.uint8)
  np.testing.assert_allclose(psnr(a, a + 5), 20 * np.log10(255 / 5))
  np.testing.assert_array_equal(psnr(a, a), 100)


def test_shapes_must_agree():
  with pytest.raises(ValueError, match="cannot be compared"):
    ssim(np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 9, 3), np.uint8))
