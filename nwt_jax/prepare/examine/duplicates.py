"""Finds a recording that has two names, by its sound, so that it is never in two splits (appendix D.10).

The fingerprint is Haitsma and Kalker's (2002): at each moment it has 32 bits, the signs of the change in time of the
differences between neighbouring spectral bands. It is robust to codecs, loudness and cuts at either end.
"""

import base64
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from nwt_jax.prepare.clip import ClipRecord

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
  """Computes the fingerprint of a sound.

  Args: audio: float [samples] at 24 kHz. Returns: uint32 [moments]; 0 where the sound is quiet."""
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
  """Groups the names of equal recordings.

  Args: prints: name -> fingerprint. Returns: groups of two and more names, sorted.
  """
  names = sorted(prints)
  groups = DisjointSet(names)
  for one, other, offset in _candidates([prints[name] for name in names]):
    first, second = names[one], names[other]
    if not groups.connected(first, second) and errors(prints[first], prints[second], offset) <= MAX_ERRORS:
      groups.merge(first, second)
  return sorted(sorted(some) for some in groups.subsets() if len(some) > 1)


def join_duplicates(clips: Sequence[ClipRecord]) -> list[ClipRecord]:
  """Finds recordings under two names: flags all but the longest, and gives all of them one source (D.10).

  Returns: the clips without their `print`, which is not needed any more.
  """
  prints = {clip.name: np.frombuffer(base64.b64decode(clip.print), np.uint32) for clip in clips if not clip.fault}
  groups = same_recordings(prints)
  same = defaultdict(list)
  for clip in clips:
    if digest := clip.facts.get("sha256"):
      same[digest, clip.start, clip.length].append(clip.name)
  sources = DisjointSet(clip.source for clip in clips)
  by_name, flagged = {clip.name: clip for clip in clips}, set()
  for names in [*groups, *(names for names in same.values() if len(names) > 1)]:
    flagged |= set(sorted(names, key=lambda name: (-by_name[name].seconds, name))[1:])
    for name in names:
      sources.merge(by_name[names[0]].source, by_name[name].source)
  joined = [replace(clip, source=min(sources.subset(clip.source)), print="") for clip in clips]
  return [clip.with_flags("duplicate") if clip.name in flagged and not clip.fault else clip for clip in joined]


def _candidates(prints):
  """Returns pairs that share _SHARED words at one offset, as (index, index, offset in moments), most words first."""
  positions = np.concatenate([np.full(len(words), n, np.int64) for n, words in enumerate(prints)] or [np.zeros(0, int)])
  moments = np.concatenate([np.arange(len(words)) for words in prints] or [np.zeros(0, int)])
  words = np.concatenate([*prints, np.zeros(0, np.uint32)])
  # Of many hours only some words, the same ones everywhere: a minute shares hundreds.
  chosen = (words != 0) & (words * np.uint32(2654435761) % np.uint32(max(1, -(-len(words) // _INDEXED))) == 0)
  order = np.flatnonzero(chosen)[np.argsort(words[chosen], kind="stable")]
  words, positions, moments = words[order], positions[order], moments[order]
  starts = np.flatnonzero(np.diff(words, prepend=0))
  length = np.diff(starts, append=len(words))
  common = np.repeat(length > _COMMON, length)  # a word that is everywhere tells nothing
  words, positions, moments = words[~common], positions[~common], moments[~common]
  found = []
  for step in range(1, _COMMON):
    same = np.flatnonzero((words[step:] == words[:-step]) & (positions[step:] != positions[:-step]))
    if not len(same) and not (words[step:] == words[:-step]).any():
      break
    found.append(np.stack([positions[same], positions[same + step], moments[same] - moments[same + step]], axis=1))
  pairs, counts = np.unique(np.concatenate([*found, np.zeros((0, 3), int)]), axis=0, return_counts=True)
  ranked = np.argsort(-counts, kind="stable")
  return [tuple(map(int, pairs[n])) for n in ranked if counts[n] >= _SHARED]


def errors(first: np.ndarray, second: np.ndarray, offset: int) -> float:
  """Returns the share of bits that differ where both are loud, with moment `offset` of the first at the second's start.

  It is 1 where they overlap by less than MIN_OVERLAP moments."""
  a, b = first[max(0, offset) :], second[max(0, -offset) :]
  n = min(len(a), len(b))
  a, b = a[:n], b[:n]
  loud = (a != 0) & (b != 0)
  if loud.sum() < MIN_OVERLAP:
    return 1.0
  return float(np.bitwise_count(a[loud] ^ b[loud]).sum() / (32 * loud.sum()))
