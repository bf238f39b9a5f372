"""Hamming search against loops."""

import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax.analysis import hamming
from nwt_jax.models import memcodes


def test_distances_are_equation_10():
  rng = np.random.default_rng(0)
  queries, base = rng.integers(0, 3, (7, 5)), rng.integers(0, 3, (9, 5))
  found = hamming.distances(queries, base) / 5
  expected = memcodes.hamming(jnp.asarray(queries)[:, None], jnp.asarray(base)[None])
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  with pytest.raises(ValueError, match="take both from one model"):
    hamming.distances(queries, base[:, :4])


def test_nearest_sorts_by_distance_and_keeps_the_order_of_ties():
  base = np.array([[0, 0, 0], [1, 1, 1], [0, 0, 1], [0, 0, 0]])
  assert hamming.nearest(np.array([[0, 0, 0], [1, 1, 0]]), base, 3).tolist() == [[0, 3, 2], [1, 0, 3]]


def test_accuracies_under_both_tie_rules():
  base = np.array([[0, 0], [0, 0], [0, 0], [1, 1], [1, 1]])
  labels = np.array([5, 5, 3, 2, 4])
  queries, truth = np.array([[0, 0], [0, 0], [1, 1], [1, 1]]), np.array([5, 3, 2, 9])
  majority, drawn = hamming.nearest_label_accuracy(queries, truth, base, labels)
  assert majority == pytest.approx((1 + 0 + 1 / 2 + 0) / 4)
  assert drawn == pytest.approx((2 / 3 + 1 / 3 + 1 / 2 + 0) / 4)


def test_all_neighbours_at_the_least_distance_vote():
  base, labels = np.array([[0, 1, 0], [1, 0, 0], [1, 1, 1]]), np.array([1, 1, 2])
  assert hamming.nearest_label_accuracy(np.array([[0, 0, 0]]), np.array([1]), base, labels) == (1.0, 1.0)
  outvoted = hamming.nearest_label_accuracy(np.array([[1, 1, 0]]), np.array([2]), base, labels)
  assert outvoted == (0.0, pytest.approx(1 / 3))
