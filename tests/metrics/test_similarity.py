"""SSIM and PSNR against their definitions written out in NumPy."""

import numpy as np
import pytest

from nwt_jax.metrics.similarity import psnr, ssim, ssim_map


@pytest.fixture
def pair():
  rng = np.random.default_rng(0)
  ramp = np.linspace(0, 200, 32)[None, :, None] + np.zeros((24, 1, 3))
  a = np.clip(ramp + rng.normal(0, 12, ramp.shape), 0, 255).astype(np.uint8)
  b = np.clip(a + rng.normal(4, 10, a.shape), 0, 255).astype(np.uint8)
  return a, b


def written_out(a, b, row, column):
  """Wang et al. 2004 at one place of two frames [h w 3], sums written out; beyond the frame its mirror image."""
  x = np.arange(-5, 6)
  window = np.exp(-(x[:, None] ** 2 + x[None, :] ** 2) / (2 * 1.5**2))[..., None]
  window /= window.sum()
  p, q = (
    np.pad(f.astype(np.float64), ((5, 5), (5, 5), (0, 0)), mode="symmetric")[row : row + 11, column : column + 11]
    for f in (a, b)
  )
  mean_p, mean_q = (p * window).sum((0, 1)), (q * window).sum((0, 1))
  var_p, var_q = ((p - mean_p) ** 2 * window).sum((0, 1)), ((q - mean_q) ** 2 * window).sum((0, 1))
  cov = ((p - mean_p) * (q - mean_q) * window).sum((0, 1))
  c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
  return (2 * mean_p * mean_q + c1) * (2 * cov + c2) / ((mean_p**2 + mean_q**2 + c1) * (var_p + var_q + c2))


def test_ssim_is_the_formula_of_wang_2004(pair):
  found = ssim_map(*pair)
  for row, column in ((5, 5), (12, 20), (18, 26)):
    np.testing.assert_allclose(found[row, column], written_out(*pair, row, column), rtol=1e-6)


@pytest.mark.parametrize("box", [(6, 19, 9, 22), (0, 13, 19, 32)], ids=["inside", "corner"])
def test_a_box_averages_the_whole_frames_map(pair, box):
  top, bottom, left, right = box  # 13 x 13 pixels, as a mouth in the shipped models' frames: little more than a window
  a, b = pair
  want = np.mean([written_out(a, b, row, column) for row in range(top, bottom) for column in range(left, right)])
  np.testing.assert_allclose(ssim(a[None], b[None], box), [want], rtol=1e-6)
  part = np.s_[None, top:bottom, left:right]
  assert abs(ssim(a[part], b[part])[0] - want) > 1e-3  # frames cut first: windows see the cut's mirror image


def test_without_a_box_all_of_the_frame_counts(pair):
  a, b = (frame[None] for frame in pair)
  np.testing.assert_allclose(ssim(a, b), ssim(a, b, (0, 24, 0, 32)))


@pytest.mark.parametrize("box", [(0, 25, 0, 32), (-1, 9, 0, 9), (5, 5, 0, 9)])
def test_a_box_lies_in_the_frame(pair, box):
  with pytest.raises(ValueError, match="is not in frames of 24 x 32"):
    ssim(pair[0][None], pair[1][None], box)


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
