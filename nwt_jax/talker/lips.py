"""The mouth tracker for talker frames: how far the mouth is open, from colours alone (no place in the paper).

The drawing's colours are chosen for it: the dark of a mouth, teeth and tongue lie on one plane in RGB where yellow
equals blue, and every skin and every lip lies the same 35 to 50 levels off it. So "yellow minus blue" of a pixel is
linear in how much of it is inside the mouth, and its column sums survive blur, JPEG and a codec's softness, which move
the edge but keep the sum.
"""

import cv2
import numpy as np

from nwt_jax.errors import InputError

_YELLOW = np.array([0.39, 0.583, -1.0], np.float32)  # 1 for a mouth's inside, 35 to 50 for skin and lips (0..255)
_INSIDE, _OUTSIDE = 1.0, 0.9  # the second as a part of what the surroundings show
_REGION = (0.48, 0.28, 0.72, 0.72)  # top, left, bottom, right of where a mouth may lie, parts of the frame
_REACH = (0.115, 0.1, 0.1)  # the box around a mouth: half width, above and below its middle, as parts of the height
_COLUMN = 0.055  # half width of the columns that may hold the tallest gap, so that no hair or background does


def mouth_opening(frames: np.ndarray) -> np.ndarray:
  """Measures how far the mouth is open in each frame.

  Args: frames: uint8 RGB [t h w 3], one talker clip.
  Returns: float64 [t], about the gap between the lips in units of 1/128 of the frame's height, plus a clip's constant.
  Raises: InputError: not a stack of RGB frames."""
  frames = _checked(frames)
  height, width = frames.shape[1:3]
  row, column = _middle(frames)
  top, bottom = _clip(row - _REACH[1] * height, row + _REACH[2] * height, height)
  left, right = _clip(column - _COLUMN * height, column + _COLUMN * height, width)
  part = frames[:, top:bottom, left:right]
  yellow = part @ _YELLOW
  outside = _OUTSIDE * np.median(yellow)  # what skin and lips show here
  inside = np.clip((outside - yellow) / max(outside - _INSIDE, 6.0), 0, 1)
  # The gap is the tallest column of the inside, softly: the mean over a strip as wide as the narrowest mouth.
  strip = max(1, round(6 / 128 * height))
  columns = inside.sum(1)
  smooth = np.stack([np.convolve(line, np.ones(strip) / strip, mode="valid") for line in columns])
  return smooth.max(1) * 128 / height


def mouth_box(frames: np.ndarray) -> tuple[int, int, int, int]:
  """Finds the box around the mouth for a whole clip, as (top, bottom, left, right) in pixels; see mouth_opening."""
  frames = _checked(frames)
  height, width = frames.shape[1:3]
  row, column = _middle(frames)
  half, above, below = (part * height for part in _REACH)
  return (*_clip(row - above, row + below, height), *_clip(column - half, column + half, width))


def moves(track: np.ndarray) -> bool:
  """Returns whether a track [t] is informative: it is finite, and varies by more than rounding does."""
  track = np.asarray(track, np.float64)
  return len(track) > 1 and bool(np.ptp(track) > 1e-9 * np.abs(track).max())


def correlation(a: np.ndarray, b: np.ndarray) -> float | None:
  """Pearson's correlation of two tracks [t], the longer without its end.

  Returns: None, unknown, where one does not move: a mouth that was not found, or that stays as it is."""
  n = min(len(a), len(b))
  a, b = np.asarray(a[:n], np.float64), np.asarray(b[:n], np.float64)
  if not (moves(a) and moves(b)):
    return None
  a, b = a - a.mean(), b - b.mean()
  return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def best_lag(a: np.ndarray, b: np.ndarray, max_lag: int = 8) -> int | None:
  """The lag in frames at which b correlates best with a: positive when b comes later. The smallest of equals.

  Returns: None, unknown, where one of them does not move."""
  n = min(len(a), len(b))

  def at(lag):
    return correlation(a[max(0, -lag) : n - max(0, lag)], b[max(0, lag) : n - max(0, -lag)])

  lags = [lag for lag in sorted(range(-max_lag, max_lag + 1), key=abs) if n - abs(lag) >= 3]
  known = {lag: found for lag in lags if (found := at(lag)) is not None}
  return max(known, key=lambda lag: known[lag], default=None)


def _checked(frames):
  frames = np.asarray(frames)
  if frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
    raise InputError(f"mouth tracker got an array of shape {frames.shape}; want RGB frames [t, h, w, 3] with t > 0")
  return frames


def _clip(low, high, size):
  return max(0, round(low)), min(size, round(high))


def _middle(frames):
  """Row and column of the mouth's middle: where, with skin all around it, the lower face changes most."""
  height, width = frames.shape[1:3]
  unit = height / 128
  (y0, x0), (y1, x1) = ((round(_REGION[i] * height), round(_REGION[i + 1] * width)) for i in (0, 2))
  soft = lambda image, sigma: cv2.GaussianBlur(image, (0, 0), sigma * unit)
  yellow = np.stack(
    [soft(np.clip(frame @ _YELLOW, -20, 40), 1.5) for frame in frames]
  )  # grain must not count as change
  # The edge of a chin or a cheek also changes as the head moves, but only one of its sides is skin.
  skin = soft((np.median(yellow, 0) > 20).astype(np.float32), 7)
  change = (yellow.std(0) * skin**6)[y0:y1, x0:x1]
  if change.max() < 1:  # a still clip: where a talker in the middle has it
    return 0.565 * height, 0.5 * width
  vote = soft(change, 5)
  row, column = np.unravel_index(np.argmax(vote), vote.shape)
  rows, columns = np.mgrid[: y1 - y0, : x1 - x0]
  weight = change**2 * np.exp(-0.5 * ((rows - row) ** 2 + (columns - column) ** 2) / (8 * unit) ** 2) + 1e-9
  return y0 + float((weight * rows).sum() / weight.sum()), x0 + float((weight * columns).sum() / weight.sum())
