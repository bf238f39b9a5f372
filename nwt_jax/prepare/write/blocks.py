"""Deals one long recording to several splits, in blocks with a gap on either side (instead of D.10's random draw).

Consecutive clips share posture, light and often a sentence. If clips were drawn one by one, the other splits would hold
near-copies of training clips.
"""

import itertools
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from nwt_jax.prepare.clip import ClipRecord

# DEPARTS: D.10 draws clips at random, of one recording as well. GAP: how long a gap must be. In two recordings of 50 s
# (cnn_anchor, lieu) pictures 0.2 s apart differ by 0.16 and 0.38 of what pictures 15 s and more apart do, 10 s apart by
# 0.86 and 0.84 (test_blocks.py measures it).
GAP_SECONDS = 10.0
MOST = 2.0  # shares that a split takes of one recording at most, where others could give it nothing
SHIFTS = (0.0, 0.25, 0.125, 0.375)  # parts of a recording by which blocks are moved where they do not fit
LEAST_TRAINED = 0.5  # of a recording's time; one that is too short for blocks and gaps trains whole


def possible(clips: Sequence[ClipRecord]) -> bool:
  """Returns whether clips of one source can be dealt in blocks: there are several, of one file, with known times."""
  return len(clips) > 1 and len({clip.origin for clip in clips}) == 1 and all(clip.seconds > 0 for clip in clips)


def assign_blocks(
  clips: Sequence[ClipRecord],
  shares: Mapping[str, float],
  owed: dict[str, float],
  position: float,
  holdout: Collection[str] = (),
) -> dict[str, list[ClipRecord]]:
  """Assigns the clips of one recording to splits.

  Args: clips: see `possible`. shares: share of the time, for each split but "train". owed: seconds that each split
    still lacks because of rounding in earlier recordings; updated in place. position: in [0, 1), where the first block
    begins; the second begins half of the recording later. holdout: episodes whose clips go to test.
  Returns: split -> clips; clips in gaps are in no split. Every episode keeps a clip to train on, or all clips train.
  """
  clips = sorted(clips, key=lambda clip: (clip.begin, clip.name))
  test = [clip for clip in clips if clip.episode in holdout]
  episodes = defaultdict(list)
  for clip in clips:
    if clip.episode not in holdout:
      episodes[clip.episode].append(clip)
  seconds = {episode: sum(clip.seconds for clip in some) for episode, some in episodes.items()}
  for split, share in shares.items():
    owed[split] += share * sum(seconds.values())
  gap = min(GAP_SECONDS, min(shares.values()) * (max(clip.begin + clip.seconds for clip in clips) - clips[0].begin))
  # A short recording may have room for the first split alone, or for none; an episode's only clip may be in the way.
  for count, shift in itertools.product(range(len(shares), -1, -1), SHIFTS):
    left, assigned = dict(owed), {split: [] for split in shares} | {"test": list(test)}
    for episode in sorted(episodes):
      for number, split in enumerate(list(shares)[:count]):
        taken = _names(*assigned.values())
        free = [clip for clip in episodes[episode] if clip.name not in taken]
        most = MOST * shares[split] * seconds[episode]
        block = _block(free, min(left[split], most), (position + shift + number / len(shares)) % 1.0)
        assigned[split] += block
        left[split] -= sum(clip.seconds for clip in block)
    given = {split for split, some in assigned.items() if some}
    assigned["validation"] = _with_gap(assigned["validation"], assigned["test"], gap)
    others = [*assigned["validation"], *assigned["test"]]
    taken = _names(others)
    assigned["train"] = _with_gap([clip for clip in clips if clip.name not in taken], others, gap)
    trained = sum(clip.seconds for clip in assigned["train"])
    if (
      all(assigned[split] for split in given)
      and {clip.episode for clip in assigned["train"]} == set(episodes)
      and trained >= LEAST_TRAINED * sum(seconds.values())
    ):
      owed.update(left)
      return assigned
  return {"train": [clip for clip in clips if clip.episode not in holdout], "validation": [], "test": test}


def _names(*groups):
  return {clip.name for group in groups for clip in group}


def _block(clips, seconds, position):
  """Returns consecutive clips whose total length is nearest to `seconds`. They begin at `position`, a part of the
  recording, or earlier where the recording would end too soon."""
  if not clips or clips[0].seconds / 2 > seconds:
    return []
  passed, first, total = 0.0, 0, sum(clip.seconds for clip in clips)
  while first < len(clips) - 1 and passed + clips[first].seconds / 2 < position * total:
    passed += clips[first].seconds
    first += 1
  block, left = [], seconds
  for clip in [*clips[first:], *reversed(clips[:first])]:
    if block and clip.seconds / 2 > left:
      break
    block.append(clip)
    left -= clip.seconds
  return block


def _with_gap(clips, others, gap):
  """The clips that neither begin within the gap after one of the others nor end within the gap before it."""
  between = lambda one, other: max(one.begin - other.begin - other.seconds, other.begin - one.begin - one.seconds)
  return [clip for clip in clips if all(between(clip, other) >= gap for other in others)]
