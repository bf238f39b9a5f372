"""Does the sound belong to the mouth? The offset between the two, estimated from recordings alone (D.5).

A linear prediction of the mouth's opening from the sound is fitted on a part of the recording and judged on the rest,
for every offset in turn; it does best where sound and mouth belong together. How well it does there, and how much
better than at far offsets, says how far to trust it. Ten looks a second at the mouth do nearly as well as thirty.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RATE = 10  # looks at the mouth a second
STEP = 3  # frames from one to the next
_LATER = 1  # frames: io.video at RATE frames a second gives what is shown so much after the even tenth of a second
MIN_SECONDS = 20.0  # less speech than that gives no answer
MAX_LAG = 15  # frames looked at to both sides
# From here on an answer counts. Chosen on GRID's first session and one news presenter; docs/preparation.md has what
# they give on other recordings, with planted offsets and with sound from elsewhere, and the command.
CONFIDENT, CORRELATED = 0.08, 0.40
_BANDS = 5  # of the mel spectrogram
_CONTEXT = 1  # frames to both sides that the prediction hears: with more, neighbouring offsets do as well
_FOLDS = 5
_RIDGE = 30.0
_FAR = 6  # frames from the best offset; from there on correlations tell what chance does
_PEAK = 0.95  # of the best correlation: what lies above is one peak, and its middle the answer


class Sync(NamedTuple):
  """The sound's offset in frames (positive: the sound comes late); how much better a prediction of the mouth from the
  sound does there than at the best of far offsets (correlations, so at most 2); the correlation itself."""

  lag: int
  confidence: float
  correlation: float

  @property
  def known(self) -> bool:
    return self.confidence >= CONFIDENT and self.correlation >= CORRELATED


def estimate(openings: Sequence[np.ndarray], mels: Sequence[np.ndarray]) -> Sync:
  """Estimates one offset for all parts of a recording, or of recordings that share it.

  Args: openings: for each part the mouth's opening, [t], RATE a second. mels: for each its log-mels, [12 t, 80].
  Returns: the offset; its confidence is 0 where mouth or sound do not move.
  Raises: ValueError: a part whose spectrogram is not twelve rows a look.
  """
  heard, seen = [], []
  for opening, mel in zip(openings, mels, strict=True):
    if len(mel) != 4 * STEP * len(opening):
      raise ValueError(f"{len(opening)} looks and {len(mel)} mel rows; wanted twelve rows a look")
    if STEP * len(opening) > 2 * (MAX_LAG + _CONTEXT) + STEP:
      heard.append(np.asarray(mel, np.float64).reshape(STEP * len(opening), 4, _BANDS, -1).mean(axis=(1, 3)))
      seen.append(np.asarray(opening, np.float64))
  if not seen:
    return Sync(0, 0.0, 0.0)
  lags = np.arange(-MAX_LAG, MAX_LAG + 1)
  curve = np.array([_correlation(heard, seen, lag) for lag in lags])
  best = int(np.argmax(curve))
  far = curve[np.abs(lags - lags[best]) >= _FAR]
  return Sync(round(_middle(lags, curve, best)), float(curve[best] - np.max(far)), float(curve[best]))


def _middle(lags, curve, best):
  """Of the peak around the best offset, which is flat where the mouth moves slowly."""
  above = np.maximum(curve - _PEAK * curve[best], 0)
  if curve[best] <= 0:
    return lags[best]
  first = best - int(np.argmin(np.append(above[best::-1], 0) > 0)) + 1
  last = best + int(np.argmin(np.append(above[best:], 0) > 0))
  return float((lags * above)[first:last].sum() / above[first:last].sum())


def _correlation(heard, seen, lag):
  """Of the mouth's opening with its prediction from sound that is taken `lag` frames later, on held-out parts."""
  rows, wanted = [], []
  edge = MAX_LAG + _CONTEXT
  for bands, opening in zip(heard, seen, strict=True):
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
