"""The same recording under two names, found by its sound, so that it never stands in two splits (appendix D.10).

The fingerprint is Haitsma and Kalker's (2002): for each moment 32 signs, of how the difference between neighbouring
bands of the spectrum changes with time. It survives another codec, another loudness and a cut at either end.
"""

from collections.abc import Mapping

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

BANDS, LOW, HIGH = 33, 300.0, 3000.0  # edges in Hz, logarithmic
WINDOW, HOP = (
  8192,
  256,
)  # samples at 24 kHz; 0.34 s, so that half a hop of offset does no harm
MAX_ERRORS = 0.35  # share of bits that differ: Haitsma and Kalker's threshold
MIN_OVERLAP = 94  # moments that two recordings must share: one second
_QUIET = 1e-4  # of the loudest moment's power; below it there is only noise to compare
_SHARED = 3  # words in common, at one offset, before two recordings are compared bit by bit
_COMMON = 64  # how often a word may occur
_INDEXED = 20_000_000  # words looked up: all of 60 hours, and some of more


def fingerprint(audio: np.ndarray) -> np.ndarray:
  """Args: audio: float [samples] at 24 kHz. Returns: uint32 [moments]; 0 where it is quiet."""
  audio = np.asarray(audio, np.float32)
  if len(audio) < WINDOW + HOP:
    return np.zeros(0, np.uint32)
  window = np.hanning(WINDOW).astype(np.float32)
  edges = np.geomspace(LOW, HIGH, BANDS + 1)
  bins = np.searchsorted(np.fft.rfftfreq(WINDOW, 1 / 24_000), edges)
  slices = np.lib.stride_tricks.sliding_window_view(audio, WINDOW)[::HOP]
  power = np.empty((len(slices), BANDS))
  for start in range(0, len(slices), 512):  # so that memory does not grow with the recording
    spectrum = np.abs(np.fft.rfft(slices[start : start + 512] * window)) ** 2
    power[start : start + 512] = np.add.reduceat(spectrum, bins[:-1], axis=1)
  slope = np.diff(power, axis=1)
  signs = (slope[1:] - slope[:-1]) > 0
  words = signs.astype(np.uint32) @ (1 << np.arange(BANDS - 1, dtype=np.uint32))
  loud = power[1:].sum(axis=1) > _QUIET * power.sum(axis=1).max()
  return np.where(loud, words, 0).astype(np.uint32)


def same_recordings(prints: Mapping[str, np.ndarray]) -> list[list[str]]:
  """Groups recordings of one another.

  Args: prints: name -> fingerprint. Returns: groups of two and more names, sorted.
  """
  names = sorted(prints)
  groups = DisjointSet(names)
  for one, other, offset in _candidates([prints[name] for name in names]):
    first, second = names[one], names[other]
    if not groups.connected(first, second) and errors(prints[first], prints[second], offset) <= MAX_ERRORS:
      groups.merge(first, second)
  return sorted(sorted(some) for some in groups.subsets() if len(some) > 1)


def _candidates(prints):
  """Pairs that share _SHARED words at one offset, as (place, place, moments between), those with most words first."""
  places = np.concatenate([np.full(len(words), n, np.int64) for n, words in enumerate(prints)] or [np.zeros(0, int)])
  moments = np.concatenate([np.arange(len(words)) for words in prints] or [np.zeros(0, int)])
  words = np.concatenate([*prints, np.zeros(0, np.uint32)])
  # Of many hours only some words, the same ones everywhere: a minute shares hundreds.
  chosen = (words != 0) & (words * np.uint32(2654435761) % np.uint32(max(1, -(-len(words) // _INDEXED))) == 0)
  order = np.flatnonzero(chosen)[np.argsort(words[chosen], kind="stable")]
  words, places, moments = words[order], places[order], moments[order]
  starts = np.flatnonzero(np.diff(words, prepend=0))
  length = np.diff(starts, append=len(words))
  common = np.repeat(length > _COMMON, length)  # a word that is everywhere tells nothing
  words, places, moments = words[~common], places[~common], moments[~common]
  found = []
  for step in range(1, _COMMON):
    same = np.flatnonzero((words[step:] == words[:-step]) & (places[step:] != places[:-step]))
    if not len(same) and not (words[step:] == words[:-step]).any():
      break
    found.append(np.stack([places[same], places[same + step], moments[same] - moments[same + step]], axis=1))
  pairs, counts = np.unique(np.concatenate([*found, np.zeros((0, 3), int)]), axis=0, return_counts=True)
  ranked = np.argsort(-counts, kind="stable")
  return [tuple(map(int, pairs[n])) for n in ranked if counts[n] >= _SHARED]


def errors(first: np.ndarray, second: np.ndarray, offset: int) -> float:
  """Share of differing bits where both are loud, moment `offset` of the first beside the second's start; 1 below
  MIN_OVERLAP moments."""
  a, b = first[max(0, offset) :], second[max(0, -offset) :]
  n = min(len(a), len(b))
  a, b = a[:n], b[:n]
  loud = (a != 0) & (b != 0)
  if loud.sum() < MIN_OVERLAP:
    return 1.0
  return float(np.bitwise_count(a[loud] ^ b[loud]).sum() / (32 * loud.sum()))
