"""One long recording in several splits: blocks of it, with a gap on either side of each (in place of D.10's draw).

Clips that follow one another share posture, light and often a sentence. Drawn clip by clip, a split would hold what
training has all but seen.
"""

import itertools
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

# DEPARTS: D.10 draws clips at random, of one recording as well. GAP: how long a gap must be. In two recordings of 50 s
# (cnn_anchor, lieu) pictures 0.2 s apart differ by 0.16 and 0.38 of what pictures 15 s and more apart do, 10 s apart by
# 0.86 and 0.84 (test_blocks.py measures it).
GAP_SECONDS = 10.0
MOST = 2.0  # shares that a split takes of one recording at most, where others could give it nothing
SHIFTS = (0.0, 0.25, 0.125, 0.375)  # of a recording, to other places where blocks do not fit
LEAST_TRAINED = 0.5  # of a recording's time; one that is too short for blocks and gaps trains whole


def possible(clips: Sequence) -> bool:
  """Whether clips of one source can be dealt in blocks: several of one file, whose times are known."""
  return len(clips) > 1 and len({clip.file for clip in clips}) == 1 and all(clip.seconds > 0 for clip in clips)


def deal(
  clips: Sequence, shares: Mapping[str, float], owed: dict[str, float], place: float, holdout: Collection[str] = ()
) -> dict[str, list]:
  """Deals the clips of one recording.

  Args: clips: splits.Entry, see `possible`. shares: of time, for each split but "train". owed: seconds that rounding in
    earlier recordings still owes each split; changed. place: in [0, 1), where the first block begins; the second begins
    half of the recording later. holdout: episodes whose clips go to test.
  Returns: split -> clips. Those in gaps are in none. Every episode keeps a clip to train on, or nothing is dealt.
  """
  clips = sorted(clips, key=lambda clip: (clip.start, clip.name))
  held = [clip for clip in clips if clip.episode in holdout]
  episodes = defaultdict(list)
  for clip in clips:
    if clip.episode not in holdout:
      episodes[clip.episode].append(clip)
  seconds = {episode: sum(clip.seconds for clip in some) for episode, some in episodes.items()}
  for split, share in shares.items():
    owed[split] += share * sum(seconds.values())
  gap = min(GAP_SECONDS, min(shares.values()) * (max(clip.start + clip.seconds for clip in clips) - clips[0].start))
  # A short recording may have room for the first split alone, or for none; an episode's only clip may be in the way.
  for count, shift in itertools.product(range(len(shares), -1, -1), SHIFTS):
    left, dealt = dict(owed), {split: [] for split in shares} | {"test": list(held)}
    for episode in sorted(episodes):
      for number, split in enumerate(list(shares)[:count]):
        free = [clip for clip in episodes[episode] if not any(clip in some for some in dealt.values())]
        most = MOST * shares[split] * seconds[episode]
        block = _block(free, min(left[split], most), (place + shift + number / len(shares)) % 1.0)
        dealt[split] += block
        left[split] -= sum(clip.seconds for clip in block)
    given = {split for split, some in dealt.items() if some}
    dealt["validation"] = _apart(dealt["validation"], dealt["test"], gap)
    out = {*dealt["validation"], *dealt["test"]}
    dealt["train"] = _apart([clip for clip in clips if clip not in out], out, gap)
    trained = sum(clip.seconds for clip in dealt["train"])
    if (
      all(dealt[split] for split in given)
      and {clip.episode for clip in dealt["train"]} == set(episodes)
      and trained >= LEAST_TRAINED * sum(seconds.values())
    ):
      owed.update(left)
      return dealt
  return {"train": [clip for clip in clips if clip not in held], "validation": [], "test": held}


def _block(clips, seconds, place):
  """Clips that follow one another, nearest to so many seconds in all, from a place on; back from the end if need be."""
  if not clips or clips[0].seconds / 2 > seconds:
    return []
  passed, first, total = 0.0, 0, sum(clip.seconds for clip in clips)
  while first < len(clips) - 1 and passed + clips[first].seconds / 2 < place * total:
    passed += clips[first].seconds
    first += 1
  block, left = [], seconds
  for clip in [*clips[first:], *reversed(clips[:first])]:
    if block and clip.seconds / 2 > left:
      break
    block.append(clip)
    left -= clip.seconds
  return block


def _apart(clips, others, gap):
  """The clips that neither begin within the gap after one of the others nor end within the gap before it."""
  between = lambda one, other: max(one.start - other.start - other.seconds, other.start - one.start - one.seconds)
  return [clip for clip in clips if all(between(clip, other) >= gap for other in others)]
