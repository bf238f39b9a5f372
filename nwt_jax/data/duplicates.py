"""The same recording under two names, found by its sound, so that it never stands in two splits (appendix D.10).

The fingerprint is Haitsma and Kalker's (2002): for each moment 32 signs, of how the difference between neighbouring
bands of the spectrum changes with time. It survives another codec, another loudness and a cut at either end.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np

BANDS, LOW, HIGH = 33, 300.0, 3000.0  # edges in Hz, logarithmic
WINDOW, HOP = (
  8192,
  256,
)  # samples at 24 kHz; 0.34 s, so that half a hop of offset does no harm
MAX_ERRORS = 0.35  # share of bits that differ: Haitsma and Kalker's threshold
MIN_OVERLAP = 94  # moments that two recordings must share: one second
_QUIET = 1e-4  # of the loudest moment's power; below it there is only noise to compare
_SHARED = 3  # words in common, at one offset, before two recordings are compared bit by bit


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
  where = defaultdict(list)
  for name in sorted(prints):
    for moment, word in enumerate(prints[name]):
      if word:
        where[int(word)].append((name, moment))
  shared = Counter()
  for found in where.values():
    if len(found) <= 64:  # a word that is everywhere tells nothing
      for i, (name, moment) in enumerate(found):
        for other, later in found[i + 1 :]:
          if other != name:
            shared[name, other, moment - later] += 1
  group = {name: name for name in prints}

  def root(name):
    while group[name] != name:
      name = group[name]
    return name

  for (name, other, offset), count in sorted(shared.items(), key=lambda item: (-item[1], item[0])):
    if count < _SHARED:
      break
    if root(name) != root(other) and errors(prints[name], prints[other], offset) <= MAX_ERRORS:
      group[max(root(name), root(other))] = min(root(name), root(other))
  groups = defaultdict(list)
  for name in sorted(prints):
    groups[root(name)].append(name)
  return [names for names in groups.values() if len(names) > 1]


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
