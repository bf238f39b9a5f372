"""Permutations: all of them, those in use, and edits of one head."""

import numpy as np
import pytest

from nwt_jax.analysis.permutations import all_permutations, head_edits, occupancy, occupancy_counts


def test_every_permutation_comes_once_with_the_last_head_fastest():
  every = all_permutations(2, 3)
  assert every.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2]]
  assert occupancy(every, 3) == 1.0 and occupancy(every[:3], 3) == pytest.approx(1 / 3)
  with pytest.raises(ValueError, match="too many"):
    all_permutations(8, 8)


def test_occupancy_takes_codes_of_video():
  codes = np.zeros((2, 5, 8, 7, 3), np.uint8)
  codes[1, 2, 3, 4] = [1, 0, 1]
  assert occupancy(codes, 2) == 2 / 8


def test_counts_lie_at_head_0_row_head_1_column():
  counts = occupancy_counts(np.array([[1, 2], [1, 2], [0, 1]]), np.array([4, 4, 1]), 3)
  assert counts.shape == (5, 3, 3) and counts.sum() == 3 and counts[4, 1, 2] == 2 and counts[1, 0, 1] == 1


def test_an_edit_changes_one_head_at_the_positions_alone():
  codes = np.random.default_rng(0).integers(0, 8, (3, 8, 7, 4))
  edits = head_edits(codes, 2, 8, (slice(None), slice(1, 3), 5))
  assert edits.shape == (8, *codes.shape)
  for value, edit in enumerate(edits):
    assert np.all(edit[:, 1:3, 5, 2] == value)
    edit[:, 1:3, 5, 2] = codes[:, 1:3, 5, 2]
    np.testing.assert_array_equal(edit, codes)
  assert np.all(head_edits(codes, 0, 8)[7][..., 0] == 7)
  with pytest.raises(ValueError, match="heads count from 0"):
    head_edits(codes, 4, 8)
