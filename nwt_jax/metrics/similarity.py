"""Similarity of two clips: SSIM (Wang et al. 2004; Table 2's measure) and PSNR, frame by frame.

GAP: Table 2 does not say how SSIM takes colours: each of RGB by itself, and their mean.
"""

import cv2
import numpy as np

# Wang's constants: Gaussian window of 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03, 8-bit range.
WINDOW, SIGMA, K1, K2, RANGE = 11, 1.5, 0.01, 0.03, 255.0


def ssim_map(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Computes SSIM at every pixel of one frame.

  Args: first, second: uint8 [h w 3]. Returns: float64 [h w 3]; the frame is reflected at its borders.
  """
  a, b = first.astype(np.float64), second.astype(np.float64)
  blur = lambda x: cv2.GaussianBlur(x, (WINDOW, WINDOW), SIGMA, borderType=cv2.BORDER_REFLECT)  # noqa: E731
  mean_a, mean_b = blur(a), blur(b)
  var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
  covariance = blur(a * b) - mean_a * mean_b
  c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
  luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
  return luminance * (2 * covariance + c2) / (var_a + var_b + c2)


def ssim(first: np.ndarray, second: np.ndarray, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
  """Computes the mean SSIM of each pair of frames, or of a part of them.

  Args: first, second: uint8 [t h w 3] of one shape, whole frames. box: (top, bottom, left, right), the pixels
    that count. Their windows include the frame around the box, while in frames cut to a small box most windows would
    cross the border.
  Returns: float64 [t], 1 where they are equal. Raises: ValueError: shapes differ, or the box is not in the frames.
  """
  if first.shape != second.shape:
    raise ValueError(f"clips of {first.shape} and {second.shape} cannot be compared; cut them to one shape")
  height, width = first.shape[1:3]
  top, bottom, left, right = box or (0, height, 0, width)
  if not (0 <= top < bottom <= height and 0 <= left < right <= width):
    raise ValueError(f"box {box} is not in frames of {height} x {width}; give (top, bottom, left, right) in pixels")
  return np.array([ssim_map(a, b)[top:bottom, left:right].mean() for a, b in zip(first, second, strict=True)])


def psnr(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Computes the peak signal-to-noise ratio of each pair of frames, in dB.

  Equal frames get 100, as in many programs.

  Args: first, second: uint8 [t h w 3] of one shape. Returns: float64 [t].
  """
  error = ((first.astype(np.float64) - second.astype(np.float64)) ** 2).mean(axis=(1, 2, 3))
  return 10 * np.log10(RANGE**2 / np.maximum(error, RANGE**2 * 1e-10))
