"""The space of Memcodes: which permutations exist, which are used, what one head changes (A.1). NumPy alone."""

import numpy as np


def all_permutations(num_heads: int, num_codes: int) -> np.ndarray:
  """Lists every possible Memcode; the last head changes fastest. Returns: uint8 [num_codes ** num_heads, k]."""
  if num_codes**num_heads > 1 << 20:
    raise ValueError(f"{num_codes} ** {num_heads} permutations are too many to list; give fewer heads or codes")
  return np.indices((num_codes,) * num_heads).reshape(num_heads, -1).T.astype(np.uint8)


def occupancy(codes: np.ndarray, num_codes: int) -> float:
  """Returns the share of all permutations that occur. Args: codes: [... k]."""
  flat = codes.reshape(-1, codes.shape[-1])
  return len(np.unique(flat, axis=0)) / num_codes ** flat.shape[-1]


def occupancy_counts(codes: np.ndarray, labels: np.ndarray, num_codes: int) -> np.ndarray:
  """Counts how often each pair of codes of a two-headed model occurs with each label (Fig. 2b).

  Args: codes: [n 2]. labels: int [n]. Returns: int64 [labels, num_codes (head 0), num_codes (head 1)].
  """
  counts = np.zeros((labels.max() + 1, num_codes, num_codes), np.int64)
  np.add.at(counts, (labels, codes[:, 0], codes[:, 1]), 1)
  return counts


def head_edits(codes: np.ndarray, head: int, num_codes: int, positions: tuple = ()) -> np.ndarray:
  """Returns the codes with one head set to every value in turn (Fig. 3).

  Args: codes: [... k]. positions: index of the Memcodes to change, as NumPy takes it: `(frame, row, column)`, with
    slices for neighbours; an empty one changes all.
  Returns: [num_codes ... k].
  """
  if not 0 <= head < codes.shape[-1]:
    raise ValueError(f"head {head} of codes with {codes.shape[-1]} heads; heads count from 0")
  edited = np.repeat(codes[None], num_codes, axis=0)
  for value in range(num_codes):
    edited[value, ..., head][positions if positions else ...] = value
  return edited
