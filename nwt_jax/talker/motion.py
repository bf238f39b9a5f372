"""Motion of the synthetic talker: phonemes to visemes with coarticulation, and a head that follows loudness and phrase.

Each phoneme has a target for the mouth and a dominance for how firmly it holds to it. The mouth at any time is the mean
of the targets around, weighted by dominance functions that fall off away from each phoneme (Cohen and Massaro, 1993).
Everything here is a function of the speech alone: chance has no part, so a model that hears can learn all of it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_CHANNELS = ("opening", "width", "rounding", "teeth", "tongue", "tuck")

# opening 0..1, width -1..1, rounding 0..1, teeth 0..1 (how closed behind parted lips), tongue 0..1, tuck 0..1 (lower
# lip under the teeth); then the dominance of the opening and of the lips' shape.
_VISEMES = {
  "rest": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.4),
  "closed": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 0.4),  # m b p
  "lip_teeth": (0.16, 0.2, 0.0, 0.2, 0.0, 1.0, 4.0, 1.2),  # f v
  "tongue_teeth": (0.3, 0.2, 0.0, 0.5, 1.0, 0.0, 1.5, 0.6),  # th
  "hiss": (0.22, 0.5, 0.0, 1.0, 0.0, 0.0, 2.5, 0.9),  # s z
  "hush": (0.28, -0.4, 0.7, 0.9, 0.0, 0.0, 2.2, 1.8),  # sh ch j
  "stop": (0.26, 0.15, 0.0, 0.6, 0.5, 0.0, 1.4, 0.4),  # t d n
  "back": (0.36, 0.0, 0.0, 0.1, 0.0, 0.0, 0.8, 0.3),  # k g ng h
  "l": (0.42, 0.15, 0.0, 0.1, 1.0, 0.0, 1.2, 0.5),
  "r": (0.3, -0.3, 0.55, 0.2, 0.2, 0.0, 1.1, 1.1),
  "w": (0.16, -0.9, 1.0, 0.0, 0.0, 0.0, 2.2, 2.4),
  "i": (0.34, 1.0, 0.0, 0.5, 0.2, 0.0, 1.5, 1.5),  # see, yes
  "ih": (0.44, 0.6, 0.0, 0.3, 0.2, 0.0, 1.3, 1.1),
  "e": (0.6, 0.55, 0.0, 0.15, 0.2, 0.0, 1.4, 1.1),
  "ae": (0.86, 0.5, 0.0, 0.1, 0.2, 0.0, 1.6, 1.2),
  "a": (1.0, 0.0, 0.0, 0.0, 0.1, 0.0, 1.8, 1.2),
  "uh": (0.66, 0.05, 0.1, 0.0, 0.1, 0.0, 1.3, 0.8),
  "schwa": (0.42, 0.05, 0.1, 0.1, 0.1, 0.0, 0.9, 0.5),
  "o": (0.72, -0.6, 0.75, 0.0, 0.0, 0.0, 1.6, 1.7),
  "u": (0.26, -0.95, 1.0, 0.0, 0.0, 0.0, 1.5, 2.0),
}

# Longest symbols first: a diphthong is two targets, in time.
_SYMBOLS = {
  "aɪ": ("a", "ih"), "aʊ": ("a", "u"), "eɪ": ("e", "i"), "oʊ": ("o", "u"), "əʊ": ("schwa", "u"), "ɔɪ": ("o", "ih"),
  "tʃ": ("hush",), "dʒ": ("hush",), "iə": ("i", "schwa"), "eə": ("e", "schwa"), "ʊə": ("u", "schwa"),
  "m": ("closed",), "b": ("closed",), "p": ("closed",), "f": ("lip_teeth",), "v": ("lip_teeth",),
  "θ": ("tongue_teeth",), "ð": ("tongue_teeth",), "s": ("hiss",), "z": ("hiss",), "ʃ": ("hush",), "ʒ": ("hush",),
  "t": ("stop",), "d": ("stop",), "n": ("stop",), "ɾ": ("stop",), "k": ("back",), "ɡ": ("back",), "g": ("back",),
  "ŋ": ("back",), "h": ("back",), "x": ("back",), "ʔ": ("back",), "l": ("l",), "ɫ": ("l",), "ɹ": ("r",), "r": ("r",),
  "w": ("w",), "ʍ": ("w",), "j": ("i",), "i": ("i",), "ɪ": ("ih",), "ᵻ": ("ih",), "ɨ": ("ih",), "y": ("u",),
  "e": ("e",), "ɛ": ("e",), "æ": ("ae",), "a": ("a",), "ɑ": ("a",), "ɒ": ("o",), "ʌ": ("uh",), "ɐ": ("uh",),
  "ə": ("schwa",), "ɚ": ("r",), "ɜ": ("uh", "r"), "ɔ": ("o",), "o": ("o",), "ʊ": ("u",), "u": ("u",), "ʉ": ("u",),
}  # fmt: skip


class Motion(NamedTuple):
  """The talker frame by frame, float32 [t] each, 0..1; opening and width are the arguments of the drawn mouth."""

  opening: np.ndarray
  width: np.ndarray
  rounding: np.ndarray
  teeth: np.ndarray
  tongue: np.ndarray
  tuck: np.ndarray
  blink: np.ndarray
  brow: np.ndarray
  pose: np.ndarray  # [t, 3]: turn, nod, roll, each about -1..1


def move(phonemes: Sequence, audio: np.ndarray, frames: int, fps: float, sample_rate: int) -> Motion:
  """Turns speech into motion.

  Args: phonemes: (symbol, start_s, end_s) in order. audio: float32 [samples]. frames: how many. fps: frames a second.
    sample_rate: rate of the audio, Hz.
  Returns: a Motion of `frames` frames; frame i shows the time (i + 0.5) / fps."""
  times = (np.arange(frames) + 0.5) / fps
  segments = _segments(phonemes, frames / fps)
  mouth = _blend(segments, times)
  loud = loudness(audio, frames, fps, sample_rate)
  # Speaking up opens the mouth further; silence closes it whatever the phonemes say.
  opening = mouth["opening"] * (0.72 + 0.36 * np.minimum(loud, 1.0))
  opening = np.clip(opening, 0, 1)
  width = np.clip(0.5 + 0.42 * mouth["width"] - 0.1 * opening * (1 - mouth["rounding"]), 0, 1)
  slow = _smooth(loud, 0.16 * fps)
  phrase = _phrases(phonemes, times)
  pauses = _pauses(phonemes)
  turn = _smooth(phrase * np.minimum(slow * 1.6, 1), 0.28 * fps)
  nod = np.clip(1.6 * (_smooth(loud, 0.07 * fps) - slow) + 0.5 * slow, -1, 1)
  roll = _smooth(0.8 * turn + 0.5 * (slow - slow.mean()), 0.2 * fps)
  brow = np.clip(1.5 * _smooth(loud, 0.12 * fps) - 0.5, 0, 1)
  f32 = lambda values: np.asarray(values, np.float32)
  return Motion(
    f32(opening), f32(width), *(f32(np.clip(mouth[c], 0, 1)) for c in ("rounding", "teeth", "tongue", "tuck")),
    f32(_blinks(pauses, times)), f32(brow), f32(np.stack([turn, _smooth(nod, 0.05 * fps), roll], 1)),
  )  # fmt: skip


def loudness(audio: np.ndarray, frames: int, fps: float, sample_rate: int) -> np.ndarray:
  """The root mean square of each frame's sound over the clip's 95th percentile, float [t]; about 0..1."""
  edges = np.round(np.arange(frames + 1) * sample_rate / fps).astype(int)
  audio = np.pad(audio.astype(np.float64) ** 2, (0, max(0, edges[-1] - len(audio))))
  power = np.diff(np.concatenate([[0], np.cumsum(audio)])[edges]) / np.diff(edges)
  level = _smooth(np.sqrt(power), 0.03 * fps)
  return np.minimum(level / max(np.percentile(level, 95), 1e-4), 1.2)


def _segments(phonemes, end):
  """[(viseme, start, end, stressed)]: diphthongs split, pauses as rest, the time before and after filled with rest."""
  segments = []
  for symbol, start, stop in phonemes:
    plain = symbol.lstrip("ˈˌ")
    parts = _SYMBOLS.get(plain.rstrip("ː")) or _SYMBOLS.get(plain[:2]) or _SYMBOLS.get(plain[:1])
    if parts is None:  # a pause, or a sound that is not in the table
      parts = ("rest",) if not plain or stop - start > 0.2 else ("schwa",)
    cuts = np.linspace(start, stop, len(parts) + 1)
    segments += [(p, a, b, symbol.startswith("ˈ")) for p, a, b in zip(parts, cuts[:-1], cuts[1:], strict=True)]
  if not segments:
    return [("rest", 0.0, end, False)]
  first, last = segments[0][1], segments[-1][2]
  return [("rest", min(0.0, first) - 1.0, first, False), *segments, ("rest", last, max(last, end) + 1.0, False)]


def _blend(segments, times):
  """Dominance-weighted means of the targets at each time: {channel: [t]}."""
  target = np.array([_VISEMES[name][:6] for name, *_ in segments])
  strength = np.array([_VISEMES[name][6:] for name, *_ in segments])
  start, stop = np.array([s[1] for s in segments]), np.array([s[2] for s in segments])
  stressed = np.array([s[3] for s in segments])
  target[:, 0] *= np.where(stressed, 1.08, 0.92)
  # Distance from the middle half of the segment, so that a long vowel holds its shape.
  middle, hold = (start + stop) / 2, (stop - start) / 4
  distance = np.maximum(np.abs(times[:, None] - middle) - hold, 0)
  near_jaw, near_lips = np.exp(-distance / 0.03), np.exp(-distance / 0.055)
  # A segment shorter than its neighbours counts for less, except where the lips must meet.
  size = np.minimum((stop - start) / 0.06, 1.3)
  jaw, lips = near_jaw * strength[:, 0] * size, near_lips * strength[:, 1] * size
  jaw, lips = (weight / weight.sum(1, keepdims=True) for weight in (jaw, lips))
  mouth = {
    c: (jaw if c in ("opening", "teeth", "tongue", "tuck") else lips) @ target[:, i] for i, c in enumerate(_CHANNELS)
  }
  for i in (j for j, s in enumerate(segments) if s[0] == "closed"):
    # The lips touch for the hold of m, b and p, for at least one frame time however fast the speech is.
    gap = np.maximum(np.abs(times - middle[i]) - max((stop[i] - start[i]) / 2 - 0.015, 0.02), 0)
    mouth["opening"] = mouth["opening"] * (1 - np.exp(-((gap / 0.022) ** 2)))
  return mouth


def _pauses(phonemes):
  """[(start, end)] of the silences of at least 0.12 s, before, inside and after the speech."""
  return [(a, b) for symbol, a, b in phonemes if not symbol.strip("ˈˌ") and b - a >= 0.12]


def _phrases(phonemes, times):
  """+1 and -1 in turn from phrase to phrase, 0 in pauses [t]."""
  sign, values = 1.0, np.zeros(len(times))
  spoken = False
  for symbol, start, stop in phonemes:
    if symbol.strip("ˈˌ"):
      values[(times >= start) & (times < stop)] = sign
      spoken = True
    elif spoken and stop - start >= 0.05:
      sign, spoken = -sign, False
  return values


def _blinks(pauses, times):
  """Lids closed 0..1 [t]: one blink as each pause begins, and one at least every 2.4 s."""
  starts, last = [], 0.0
  wanted = [a + 0.03 for a, _ in pauses]
  end = times[-1] if len(times) else 0.0
  for at in [*wanted, end]:
    while at - last > 2.9:
      last += 2.2
      starts.append(last)
    if at < end - 0.1 and at - last > 0.5:
      starts.append(at)
      last = at
  lids = np.zeros(len(times))
  for at in starts:
    lids = np.maximum(lids, np.interp(times - at, [0, 0.07, 0.11, 0.26], [0, 1, 1, 0], 0, 0))
  return lids


def _smooth(values, sigma):
  """A Gaussian mean along time, its ends repeated."""
  reach = max(1, int(3 * sigma + 0.5))
  kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2)
  return np.convolve(np.pad(values, reach, mode="edge"), kernel / kernel.sum(), mode="valid")
