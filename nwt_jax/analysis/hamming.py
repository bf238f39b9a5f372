"""Search by Hamming distance: the share of heads in which two Memcodes differ (eq. 10, A.2). Any codes, NumPy."""

import numpy as np

CHUNK = 1_000  # about so many queries are compared at once


def _split(rows: np.ndarray) -> list[np.ndarray]:
  return np.array_split(rows, -(-len(rows) // CHUNK))


def distances(queries: np.ndarray, base: np.ndarray) -> np.ndarray:
  """Counts heads that differ. Args: queries: [n k]. base: [m k]. Returns: int [n m]; divided by k it is eq. 10."""
  if queries.shape[-1] != base.shape[-1]:
    raise ValueError(f"codes of {queries.shape[-1]} and of {base.shape[-1]} heads; take both from one model")
  total = np.zeros((len(queries), len(base)), np.int16)
  for head in range(base.shape[-1]):
    total += queries[:, None, head] != base[None, :, head]
  return total


def nearest(queries: np.ndarray, base: np.ndarray, count: int) -> np.ndarray:
  """Finds the `count` nearest of `base` for each query; those at one distance keep the order of `base` (Fig. 4).

  Returns: int [n count].
  """
  parts = [np.argsort(distances(part, base), axis=1, kind="stable")[:, :count] for part in _split(queries)]
  return np.concatenate(parts)


def nearest_label_accuracy(
  queries: np.ndarray, query_labels: np.ndarray, base: np.ndarray, base_labels: np.ndarray
) -> tuple[float, float]:
  """Classifies by the nearest Memcode, without training (A.2).

  GAP: the paper gives no rule for ties, and with few permutations they decide the number: two rules.

  Args: queries: [n k]. query_labels: int [n]. base: [m k]. base_labels: int [m].
  Returns: accuracy by the majority over all neighbours at the least distance (labels that share the majority share the
    point), and the expected accuracy of one of those neighbours drawn at random.
  """
  unique, inverse = np.unique(base, axis=0, return_inverse=True)
  votes = np.zeros((len(unique), max(base_labels.max(), query_labels.max()) + 1), np.int64)
  np.add.at(votes, (inverse.reshape(-1), base_labels), 1)
  majority, drawn = [], []
  for part, labels in zip(_split(queries), _split(query_labels), strict=True):
    differing = distances(part, unique)
    counts = (differing == differing.min(axis=1, keepdims=True)).astype(np.float64) @ votes
    rows = np.arange(len(part))
    winners = counts == counts.max(axis=1, keepdims=True)
    majority.append(winners[rows, labels] / winners.sum(axis=1))
    drawn.append(counts[rows, labels] / counts.sum(axis=1))
  return float(np.concatenate(majority).mean()), float(np.concatenate(drawn).mean())
