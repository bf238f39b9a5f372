"""Which clip trains and which one tests: 90 / 5 / 5 within each episode (appendix D.10)."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nwt_jax.errors import InputError

MEAN = "mean"  # names, where an episode is wanted, the mean of all episodes
SPLITS = ("train", "validation", "test")
SHARES = {"validation": 0.05, "test": 0.05}  # PAPER: D.10; training takes the rest


@dataclass(frozen=True)
class Entry:
  """A clip before it is read: its name, its episode, and the recording that it was cut from."""

  name: str
  episode: str
  source: str


def no_episode(name: str) -> str:
  """Why a text cannot name an episode; "" if it can."""
  if name == MEAN or set(name) & set(",@"):
    return f"{name!r} cannot name an episode: `mean`, `,` and `@` mean other things"
  return ""


def check_holdout(entries, holdout):
  """Raises InputError: a held-out episode that no clip has. Args: as of assign."""
  episodes = sorted({entry.episode for entry in entries})
  if unknown := sorted(set(holdout) - set(episodes)):
    raise InputError(f"no clip has the held-out episode {unknown[0]!r}; the episodes are {', '.join(episodes)}")


def assign(entries: Iterable[Entry], seed: int = 0, holdout: Iterable[str] = ()) -> Mapping[str, list[str]]:
  """Deals clips to splits, about 90 / 5 / 5 in every episode, the clips of one recording never apart.

  What rounding leaves over in one episode goes to the next, so many small episodes still give 5 % together. Training
  comes first, then validation, then test: with two recordings test stays empty, with one validation does too.

  Args:
    entries: the clips. seed: changes which clips are drawn; the order of `entries` does not matter.
    holdout: episodes whose recordings go to test whole.
  Returns:
    {"train": names, "validation": names, "test": names}, each sorted.
  Raises:
    InputError: a held-out episode that no clip has, nothing left to train on, or two clips of one name.
  Source: D.10.
  """
  entries = sorted(entries, key=lambda entry: entry.name)
  for first, second in zip(entries, entries[1:], strict=False):
    if first.name == second.name:
      raise InputError(f"two clips are called {first.name!r}; rename one of the files")
  check_holdout(entries, holdout)
  holdout = set(holdout)
  groups = defaultdict(list)
  for entry in entries:
    groups[entry.source].append(entry)
  dealt = {split: [] for split in SPLITS}  # lists of groups
  by_episode = defaultdict(list)
  for source in sorted(groups, key=lambda name: _rank(seed, name)):
    group = groups[source]
    if holdout & {entry.episode for entry in group}:
      dealt["test"].append(group)
    else:
      by_episode[group[0].episode].append(group)
  owed = dict.fromkeys(SHARES, 0.0)  # clips that rounding still owes each split
  for episode in sorted(by_episode):
    waiting = by_episode[episode]
    clips = sum(len(group) for group in waiting)
    for split, share in SHARES.items():
      owed[split] += share * clips
      for group in list(waiting):
        # Take a recording while that brings the split nearer to its share, and never an episode's last one.
        if len(waiting) > 1 and len(group) / 2 <= owed[split]:
          waiting.remove(group)
          dealt[split].append(group)
          owed[split] -= len(group)
    dealt["train"] += waiting
  for split in SHARES:
    if not dealt[split] and len(dealt["train"]) > 1:
      # A split that is missing altogether takes the smallest recording of the episode that trains on most.
      sizes = defaultdict(int)
      for group in dealt["train"]:
        sizes[group[0].episode] += 1
      richest = max(sorted(sizes), key=lambda episode: sizes[episode])
      group = min((group for group in dealt["train"] if group[0].episode == richest), key=len)
      dealt["train"].remove(group)
      dealt[split].append(group)
  if not entries:
    raise InputError("no clip is kept; see what was left out above, or drop fewer")
  if not dealt["train"]:
    raise InputError("no clip is left to train on; hold out fewer episodes or give more clips")
  return {split: sorted(entry.name for group in dealt[split] for entry in group) for split in SPLITS}


def _rank(seed, source):
  return hashlib.sha256(f"{seed}/{source}".encode()).digest()
