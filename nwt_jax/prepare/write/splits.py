"""Which clip trains and which one tests: 90 / 5 / 5 within each episode (appendix D.10)."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nwt_jax.errors import InputError
from nwt_jax.prepare.write import blocks

MEAN = "mean"  # names, where an episode is wanted, the mean of all episodes
SPLITS = ("train", "validation", "test")
SHARES = {"validation": 0.05, "test": 0.05}  # PAPER: D.10; training takes the rest

# What to do where nothing is left to validate or test on
MORE = "for validation and test give more recordings an episode, or deal long ones with --split_seconds=4 --deal=blocks"
RECORDINGS, BLOCKS = "recordings", "blocks"  # what is dealt: whole recordings, or blocks of each


@dataclass(frozen=True)
class Entry:
  """A clip before it is read: its name, its episode, and the source whose clips stay together.

  start, seconds, file: its place in a file, where that is known; seconds are 0 where it is not.
  """

  name: str
  episode: str
  source: str
  start: float = 0.0
  seconds: float = 0.0
  file: str = ""


def no_episode(name: str) -> str:
  """Why a text cannot name an episode; "" if it can."""
  if name == MEAN or set(name) & set(",@"):
    return f"{name!r} cannot name an episode: `mean`, `,` and `@` mean other things"
  return ""


def check_holdout(entries, holdout):
  """Raises InputError: a held-out episode that no clip has. Args: as of assign, in one form (names.plain)."""
  episodes = sorted({entry.episode for entry in entries})
  if unknown := sorted(set(holdout) - set(episodes)):
    raise InputError(f"no clip has the held-out episode {unknown[0]!r}; the episodes are {', '.join(episodes)}")


def assign(
  entries: Iterable[Entry], seed: int = 0, holdout: Iterable[str] = (), deal: str = ""
) -> Mapping[str, list[str]]:
  """Deals clips to splits, about 90 / 5 / 5 in every episode; every episode keeps a clip to train on.

  Recordings are dealt whole. What rounding leaves over in one episode goes to the next, so many small episodes still
  give 5 % together. Training comes first, then validation, then test: with two recordings of an episode test stays
  empty, with one validation does too. Where that leaves neither split a clip, recordings are dealt in blocks.

  Args:
    entries: the clips. seed: changes which clips are drawn; the order of `entries` does not matter.
    holdout: episodes that go to test whole, with all of their recordings.
    deal: RECORDINGS or BLOCKS (blocks.deal); "" decides as above.
  Returns:
    {"train": names, "validation": names, "test": names}, each sorted; clips between blocks are in none.
  Raises:
    InputError: a held-out episode that no clip has, nothing left to train on, of all clips or of an episode, or two
      clips of one name.
  Source: D.10.
  """
  entries = sorted(entries, key=lambda entry: entry.name)
  for first, second in zip(entries, entries[1:], strict=False):
    if first.name == second.name:
      raise InputError(f"two clips are called {first.name!r}; rename one of the files")
  if not entries:
    raise InputError("no clip is kept; see what was left out above, or drop fewer")
  check_holdout(entries, holdout)
  holdout = set(holdout)
  groups = defaultdict(list)
  for entry in entries:
    groups[entry.source].append(entry)
  groups = [groups[source] for source in sorted(groups, key=lambda name: _rank(seed, name))]
  dealt = _whole(groups, holdout, {split: [] for split in SPLITS}) if deal != BLOCKS else {}
  held_out = sum(entry.episode in holdout for entry in entries)
  drawn = lambda dealt: sum(len(dealt[split]) for split in SHARES) - held_out
  if deal == BLOCKS or (deal != RECORDINGS and (_lost(dealt, entries, holdout) or drawn(dealt) <= 0)):
    cut = _in_blocks(groups, seed, holdout)
    if deal == BLOCKS or (drawn(cut) > 0 and not _lost(cut, entries, holdout)):
      dealt = cut
  if not dealt["train"]:
    raise InputError("no clip is left to train on; hold out fewer episodes or give more clips")
  if lost := _lost(dealt, entries, holdout):
    raise InputError(
      f"nothing is left to train the episode {lost[0]!r} on: its recordings show held-out episodes, too; hold it out "
      "as well, or give other sources"
    )
  return {split: sorted(entry.name for entry in dealt[split]) for split in SPLITS}


def _lost(dealt, entries, holdout):
  """Episodes that have no clip to train on, and are not held out."""
  return sorted({entry.episode for entry in entries} - {entry.episode for entry in dealt["train"]} - holdout)


def _whole(groups: Sequence[Sequence[Entry]], holdout: set[str], others: Mapping[str, Sequence[Entry]]) -> dict:
  """Deals recordings, none of them apart.

  Args: groups: the clips of each, in the order in which they are drawn. others: split -> clips of other recordings.
  Returns: split -> clips, the others with them.
  """
  dealt = {split: [] for split in SPLITS}  # lists of groups
  by_episode = defaultdict(list)
  for group in groups:
    if holdout & {entry.episode for entry in group}:
      dealt["test"].append(group)
    else:
      by_episode[group[0].episode].append(group)
  left = Counter(entry.episode for some in by_episode.values() for group in some for entry in group)
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
          dealt[split].append(group)
          owed[split] -= len(group)
          left -= _episodes(group)
    dealt["train"] += waiting
  for split in SHARES:
    if not dealt[split] and not others[split]:
      # A split that is missing altogether takes the smallest recording of the episode that trains on most, if it can.
      sizes = Counter(group[0].episode for group in dealt["train"])
      can = [group for group in dealt["train"] if spare(group)]
      if can:
        richest = max(sorted({group[0].episode for group in can}), key=lambda episode: sizes[episode])
        group = min((group for group in can if group[0].episode == richest), key=len)
        dealt["train"].remove(group)
        dealt[split].append(group)
        left -= _episodes(group)
  return {split: [entry for group in [others[split], *dealt[split]] for entry in group] for split in SPLITS}


def _episodes(group):
  return Counter(entry.episode for entry in group)


def _in_blocks(groups, seed, holdout):
  """Deals blocks of recordings, and recordings whole that are one clip, or of which no times are known."""
  owed, dealt = dict.fromkeys(SHARES, 0.0), {split: [] for split in SPLITS}
  for group in filter(blocks.possible, groups):
    place = int.from_bytes(_rank(seed, f"{group[0].source}/place")[:4]) / 2**32
    for split, some in blocks.deal(group, SHARES, owed, place, holdout).items():
      dealt[split] += some
  return _whole([group for group in groups if not blocks.possible(group)], holdout, dealt)


def _rank(seed, source):
  return hashlib.sha256(f"{seed}/{source}".encode()).digest()
