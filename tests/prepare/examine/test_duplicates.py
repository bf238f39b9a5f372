"""One recording under two names is found by its sound, among many that are not it."""

import numpy as np
import pytest

from nwt_jax.prepare.examine import duplicates
from tests import media


@pytest.fixture(scope="module")
def prints():
  """Thirty recordings of 3 s, and of two of them a softer copy with a little noise without its first 0.2 s."""
  noise = 0.001 * np.random.default_rng(0).normal(size=72_000)
  found = {f"c{seed}": media.speech(seed, 3.0) for seed in range(30)}
  found |= {f"again{seed}": (0.5 * found[f"c{seed}"] + noise)[4_800:] for seed in (3, 9)}
  return {name: duplicates.fingerprint(sound) for name, sound in found.items()}


def test_copies_are_found_and_nothing_else(prints):
  assert duplicates.same_recordings(prints) == [["again3", "c3"], ["again9", "c9"]]
  chained = prints | {"third": prints["again3"][:150]}
  assert duplicates.same_recordings(chained)[0] == ["again3", "c3", "third"]
  assert duplicates.same_recordings({}) == []


def test_bits_differ_by_chance_or_hardly(prints):
  offset = 4_800 // duplicates.HOP  # the copy starts so much later
  assert duplicates.errors(prints["c3"], prints["again3"], offset) < 0.15
  assert duplicates.errors(prints["c3"], prints["c4"], 0) > 0.4
  assert duplicates.errors(prints["c3"], prints["again3"][:50], offset) == 1.0  # too little to tell


def test_of_many_hours_some_words_are_enough(prints, monkeypatch):
  words = sum(map(len, prints.values()))
  monkeypatch.setattr(duplicates, "_INDEXED", words // 3)
  assert duplicates.same_recordings(prints) == [["again3", "c3"], ["again9", "c9"]]


def test_silence_is_no_recording():
  silent = {name: duplicates.fingerprint(np.zeros(48_000)) for name in "ab"}
  assert not silent["a"].any() and duplicates.same_recordings(silent) == []
  assert len(duplicates.fingerprint(np.zeros(100))) == 0
