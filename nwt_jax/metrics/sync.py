"""Estimates the offset between the sound and the mouth from recordings alone (D.5).

A linear prediction of the mouth's opening from the sound is fitted on a part of the recording and judged on the rest,
for every offset in turn; it is best at the true offset. The correlation there and its margin over far offsets measure
the reliability. Ten measurements of the mouth per second do nearly as well as thirty.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RATE = 10  # measurements of the mouth per second
STEP = 3  # frames from one measurement to the next
_LATER = 1  # frames: io.video at RATE frames a second gives what is shown so much after the even tenth of a second
MIN_SECONDS = 20.0  # less speech than that gives no answer
MAX_LAG = 15  # largest offset that is tried, frames to either side
# From here on an answer counts. Chosen on GRID's first session and one news presenter; docs/preparation.md has what
# they give on other recordings, with planted offsets and with sound from elsewhere, and the command.
CONFIDENT, CORRELATED = 0.08, 0.40
_BANDS = 5  # bands that the mel spectrogram is reduced to
_CONTEXT = 1  # frames of sound to both sides in the prediction: with more, neighbouring offsets do as well
_FOLDS = 5
_RIDGE = 30.0
_FAR = 6  # frames from the best offset; correlations from there on show the chance level
_PEAK = 0.95  # of the best correlation: what lies above is one peak, and its middle the answer


class Sync(NamedTuple):
  """The sound's offset in frames (positive: the sound comes late); the confidence, which is the margin of the
  correlation there over the best of far offsets (at most 2); and the correlation itself."""

  lag: int
  confidence: float
  correlation: float

  @property
  def known(self) -> bool:
    return self.confidence >= CONFIDENT and self.correlation >= CORRELATED


def estimate(openings: Sequence[np.ndarray], mels: Sequence[np.ndarray]) -> Sync:
  """Estimates one offset for all parts of a recording, or of recordings that share it.

  Args: openings: for each part the mouth's opening [t], RATE per second. mels: for each part its log-mels [12 t, 80].
  Returns: the offset; its confidence is 0 where mouth or sound do not move.
  Raises: ValueError: a part has other than twelve rows of log-mel per opening.
  """
  sounds, mouths = [], []
  for opening, mel in zip(openings, mels, strict=True):
    if len(mel) != 4 * STEP * len(opening):
      raise ValueError(f"{len(opening)} looks and {len(mel)} mel rows; wanted twelve rows a look")
    if STEP * len(opening) > 2 * (MAX_LAG + _CONTEXT) + STEP:
      sounds.append(np.asarray(mel, np.float64).reshape(STEP * len(opening), 4, _BANDS, -1).mean(axis=(1, 3)))
      mouths.append(np.asarray(opening, np.float64))
  if not mouths:
    return Sync(0, 0.0, 0.0)
  lags = np.arange(-MAX_LAG, MAX_LAG + 1)
  curve = np.array([_correlation(sounds, mouths, lag) for lag in lags])
  best = int(np.argmax(curve))
  far = curve[np.abs(lags - lags[best]) >= _FAR]
  return Sync(round(_middle(lags, curve, best)), float(curve[best] - np.max(far)), float(curve[best]))


def _middle(lags, curve, best):
  """Returns the middle of the peak around the best offset, because the peak is flat where the mouth moves slowly."""
  above = np.maximum(curve - _PEAK * curve[best], 0)
  if curve[best] <= 0:
    return lags[best]
  first = best - int(np.argmin(np.append(above[best::-1], 0) > 0)) + 1
  last = best + int(np.argmin(np.append(above[best:], 0) > 0))
  return float((lags * above)[first:last].sum() / above[first:last].sum())


def _correlation(sounds, mouths, lag):
  """Returns the correlation of the mouth's opening, on held-out parts, with a prediction from sound `lag` frames on."""
  rows, wanted = [], []
  edge = MAX_LAG + _CONTEXT
  for bands, opening in zip(sounds, mouths, strict=True):
    looks = np.arange(-(-(edge - _LATER) // STEP), (len(bands) - edge - 1 - _LATER) // STEP + 1)
    context = [bands[STEP * looks + _LATER + lag + shift] for shift in range(-_CONTEXT, _CONTEXT + 1)]
    rows.append(np.concatenate(context, axis=1))
    wanted.append(opening[looks] - np.median(opening))
  x, y = np.concatenate(rows), np.concatenate(wanted)
  scale = x.std(axis=0)
  x = (x - x.mean(axis=0)) / np.where(scale > 1e-9, scale, 1.0)
  folds = np.arange(len(y)) * _FOLDS // len(y)
  found = []
  for fold in range(_FOLDS):
    test, train = folds == fold, folds != fold
    if not test.any() or not train.any():
      return 0.0
    middle = y[train].mean()
    gram = x[train].T @ x[train] + _RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x[train].T @ (y[train] - middle))
    guess, real = x[test] @ weights, y[test] - y[test].mean()
    guess = guess - guess.mean()
    norm = np.sqrt((guess**2).sum() * (real**2).sum())
    found.append(float((guess * real).sum() / norm) if norm > 1e-12 else 0.0)
  return float(np.mean(found))
