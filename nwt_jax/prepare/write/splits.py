"""Assigns clips to training, validation and test: 90 / 5 / 5 within each episode (appendix D.10)."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from nwt_jax.errors import InputError
from nwt_jax.names import SPLITS
from nwt_jax.prepare.acquire.recordings import Recording
from nwt_jax.prepare.clip import ClipRecord
from nwt_jax.prepare.write import blocks

SHARES = {"validation": 0.05, "test": 0.05}  # PAPER: D.10; training takes the rest

# The advice where nothing is left to validate or test on
MORE = "for validation and test give more recordings an episode, or deal long ones with --split_seconds=4 --deal=blocks"
RECORDINGS, BLOCKS = "recordings", "blocks"  # what goes to a split: whole recordings, or blocks of each


def check_holdout(clips: Iterable[ClipRecord | Recording], holdout: Iterable[str]) -> None:
  """Raises InputError: a held-out episode that none of the clips, or recordings, has. Args: see assign."""
  episodes = sorted({clip.episode for clip in clips})
  if unknown := sorted(set(holdout) - set(episodes)):
    raise InputError(f"no clip has the held-out episode {unknown[0]!r}; the episodes are {', '.join(episodes)}")


def assign(
  clips: Iterable[ClipRecord], seed: int = 0, holdout: Iterable[str] = (), deal: str = ""
) -> Mapping[str, list[str]]:
  """Assigns clips to splits, about 90 / 5 / 5 in every episode; every episode keeps a clip to train on.

  Recordings are assigned whole. What rounding leaves over in one episode goes to the next, so many small episodes still
  give 5 % together. Training comes first, then validation, then test: with two recordings of an episode test stays
  empty, with one validation does too. Where that leaves neither split a clip, recordings are assigned in blocks.

  Args:
    clips: the clips. seed: changes which clips are drawn; the order of `clips` does not matter.
    holdout: episodes that go to test whole, with all of their recordings.
    deal: RECORDINGS or BLOCKS (blocks.assign_blocks); "" decides as above.
  Returns:
    {"train": names, "validation": names, "test": names}, each sorted; clips between blocks are in none.
  Raises:
    InputError: no clip has a held-out episode; no clip, or none of an episode, is left to train on; or two clips have
      one name.
  Source: D.10.
  """
  clips = sorted(clips, key=lambda clip: clip.name)
  for first, second in zip(clips, clips[1:], strict=False):
    if first.name == second.name:
      raise InputError(f"two clips are called {first.name!r}; rename one of the files")
  if not clips:
    raise InputError("no clip is kept; see what was left out above, or drop fewer")
  check_holdout(clips, holdout)
  holdout = set(holdout)
  groups = defaultdict(list)
  for clip in clips:
    groups[clip.source].append(clip)
  groups = [groups[source] for source in sorted(groups, key=lambda name: _rank(seed, name))]
  assigned = _whole(groups, holdout, {split: [] for split in SPLITS}) if deal != BLOCKS else {}
  held_out = sum(clip.episode in holdout for clip in clips)
  drawn = lambda assigned: sum(len(assigned[split]) for split in SHARES) - held_out
  if deal == BLOCKS or (deal != RECORDINGS and (_lost(assigned, clips, holdout) or drawn(assigned) <= 0)):
    cut = _in_blocks(groups, seed, holdout)
    if deal == BLOCKS or (drawn(cut) > 0 and not _lost(cut, clips, holdout)):
      assigned = cut
  if not assigned["train"]:
    raise InputError("no clip is left to train on; hold out fewer episodes or give more clips")
  if lost := _lost(assigned, clips, holdout):
    raise InputError(
      f"nothing is left to train the episode {lost[0]!r} on: its recordings show held-out episodes, too; hold it out "
      "as well, or give other sources"
    )
  return {split: sorted(clip.name for clip in assigned[split]) for split in SPLITS}


def _lost(assigned, clips, holdout):
  """Returns the episodes that have no clip to train on and are not held out."""
  return sorted({clip.episode for clip in clips} - {clip.episode for clip in assigned["train"]} - holdout)


def _whole(
  groups: Sequence[Sequence[ClipRecord]], holdout: set[str], others: Mapping[str, Sequence[ClipRecord]]
) -> dict:
  """Assigns whole recordings.

  Args: groups: the clips of each, in the order in which they are drawn. others: split -> clips of other recordings.
  Returns: split -> clips, the others with them.
  """
  assigned = {split: [] for split in SPLITS}  # lists of groups
  by_episode = defaultdict(list)
  for group in groups:
    if holdout & {clip.episode for clip in group}:
      assigned["test"].append(group)
    else:
      by_episode[group[0].episode].append(group)
  left = Counter(clip.episode for some in by_episode.values() for group in some for clip in group)
  left += _episodes(others["train"])
  spare = lambda group: all(left[name] > count for name, count in _episodes(group).items())
  owed = dict.fromkeys(SHARES, 0.0)  # clips that rounding still owes each split
  for episode in sorted(by_episode):
    waiting = by_episode[episode]
    clips = sum(len(group) for group in waiting)
    for split, share in SHARES.items():
      owed[split] += share * clips
      for group in list(waiting):
        # Take a recording while that brings the split nearer to its share, and never an episode's last one.
        if len(waiting) > 1 and len(group) / 2 <= owed[split] and spare(group):
          waiting.remove(group)
          assigned[split].append(group)
          owed[split] -= len(group)
          left -= _episodes(group)
    assigned["train"] += waiting
  for split in SHARES:
    if not assigned[split] and not others[split]:
      # A split that is missing altogether takes the smallest recording of the episode that trains on most, if it can.
      sizes = Counter(group[0].episode for group in assigned["train"])
      can = [group for group in assigned["train"] if spare(group)]
      if can:
        richest = max(sorted({group[0].episode for group in can}), key=lambda episode: sizes[episode])
        group = min((group for group in can if group[0].episode == richest), key=len)
        assigned["train"].remove(group)
        assigned[split].append(group)
        left -= _episodes(group)
  return {split: [clip for group in [others[split], *assigned[split]] for clip in group] for split in SPLITS}


def _episodes(group):
  return Counter(clip.episode for clip in group)


def _in_blocks(groups, seed, holdout):
  """Assigns blocks of recordings; recordings of one clip, or of unknown times, are assigned whole."""
  owed, assigned = dict.fromkeys(SHARES, 0.0), {split: [] for split in SPLITS}
  for group in filter(blocks.possible, groups):
    position = int.from_bytes(_rank(seed, f"{group[0].source}/place")[:4]) / 2**32
    for split, some in blocks.assign_blocks(group, SHARES, owed, position, holdout).items():
      assigned[split] += some
  return _whole([group for group in groups if not blocks.possible(group)], holdout, assigned)


def _rank(seed, source):
  return hashlib.sha256(f"{seed}/{source}".encode()).digest()
