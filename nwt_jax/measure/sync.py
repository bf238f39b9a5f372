"""Does the sound belong to the mouth? The offset between the two, estimated from one recording alone (D.5).

A linear prediction of the mouth's opening from the sound is fitted on a part of the recording and judged on the rest,
for every offset in turn; it does best where sound and mouth belong together. How much better than at far offsets says
how far to trust it.
"""

from typing import NamedTuple

import numpy as np

MIN_SECONDS = 30.0  # less speech than that gives no answer
MAX_LAG = 20  # frames looked at to both sides
# From here on an answer counts. Measured on four recordings of real speakers of 30 s to 57 s, with planted offsets of
# up to 16 frames: 0.20 to 0.46, every answer within 2 frames; with a sound from elsewhere, 14 times, below 0.07
CONFIDENT = 0.12
_BANDS = 10  # of the mel spectrogram
_CONTEXT = 2  # frames to both sides that the prediction hears
_FOLDS = 5
_RIDGE = 30.0
_FAR = 6  # frames from the best offset; from there on correlations tell what chance does


class Sync(NamedTuple):
  """The sound's offset in frames (positive: the sound comes late); how much better a prediction of the mouth from the
  sound does there than at the best of far offsets (correlations, so at most 2); the correlation itself."""

  lag: int
  confidence: float
  correlation: float


def estimate(openings: list[np.ndarray], mels: list[np.ndarray]) -> Sync:
  """Estimates one offset for all clips of a recording.

  Args: openings: for each clip the mouth's opening, [t]. mels: for each its log-mel spectrogram, [4 t, 80].
  Returns: the offset; its confidence is 0 where mouth or sound do not move.
  Raises: ValueError: a clip whose spectrogram is not four rows a frame.
  """
  heard, seen = [], []
  for opening, mel in zip(openings, mels, strict=True):
    if len(mel) != 4 * len(opening):
      raise ValueError(f"{len(opening)} frames and {len(mel)} mel rows; wanted four rows a frame")
    if len(opening) > 2 * MAX_LAG:
      heard.append(np.asarray(mel, np.float64).reshape(len(opening), 4, _BANDS, -1).mean(axis=(1, 3)))
      seen.append(np.asarray(opening, np.float64))
  if not seen:
    return Sync(0, 0.0, 0.0)
  lags = np.arange(-MAX_LAG, MAX_LAG + 1)
  curve = np.array([_correlation(heard, seen, lag) for lag in lags])
  best = int(np.argmax(curve))
  far = curve[np.abs(lags - lags[best]) >= _FAR]
  return Sync(int(lags[best]), float(curve[best] - np.max(far)), float(curve[best]))


def _correlation(heard, seen, lag):
  """Of the mouth's opening with its prediction from sound that is taken `lag` frames later, on held-out parts."""
  rows, wanted = [], []
  edge = MAX_LAG + _CONTEXT
  for bands, opening in zip(heard, seen, strict=True):
    middle = np.arange(edge, len(opening) - edge)
    if len(middle):
      context = [bands[middle + lag + shift] for shift in range(-_CONTEXT, _CONTEXT + 1)]
      rows.append(np.concatenate(context, axis=1))
      wanted.append(opening[middle] - np.median(opening))
  if not rows:
    return 0.0
  x, y = np.concatenate(rows), np.concatenate(wanted)
  scale = x.std(axis=0)
  x = (x - x.mean(axis=0)) / np.where(scale > 1e-9, scale, 1.0)
  folds = np.arange(len(y)) * _FOLDS // len(y)
  found = []
  for fold in range(_FOLDS):
    test, train = folds == fold, folds != fold
    middle = y[train].mean()
    gram = x[train].T @ x[train] + _RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x[train].T @ (y[train] - middle))
    guess, real = x[test] @ weights, y[test] - y[test].mean()
    guess = guess - guess.mean()
    norm = np.sqrt((guess**2).sum() * (real**2).sum())
    found.append(float((guess * real).sum() / norm) if norm > 1e-12 else 0.0)
  return float(np.mean(found))
