"""Does the sound of recordings come with the mouth? Estimated once a recording, or for short ones together (D.5).

How much is looked at is bounded: SECONDS of a recording, POOLED of short ones, spread over all of it.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nwt_jax.errors import InputError
from nwt_jax.io import audio, video
from nwt_jax.io.progress import Progress
from nwt_jax.metrics import face, sync
from nwt_jax.prepare.cache import CACHE, Kept, short, stamp
from nwt_jax.prepare.write.records import FileClip

FLAGGED = 4  # frames from which an offset is flagged: 0.13 s, which ITU-R BT.1359 finds to be noticed
SECONDS, POOLED = 30.0, 45.0  # looked at: of a recording, and of short recordings together
_WINDOW = 6.0  # seconds looked at in one place
_LEAST = 2.0  # seconds: in a shorter clip there are few moments at which all offsets can be tried
_PART, _HEIGHT = 10.0, 480  # seconds and pixels of height read at once, so that memory does not grow
_LISTED = 20  # answers that the report names one by one


def listen(rows: Sequence[dict], clips: Mapping[str, FileClip], work: Path, engine) -> tuple[dict[str, str], str]:
  """Writes `sync` into each row, and flags the clips of recordings whose sound is apart.

  A recording of sync.MIN_SECONDS and more has an answer of its own. Shorter ones are taken together where they are of
  one episode, lie in one folder and have one size and rate: one camera's, presumably, with one offset.

  Args: rows: of the manifest; changed. clips: the clip of each row without a fault. work: see workplace.py.
  Returns: recording, or what stands for several -> what was found, for the report; one line that sums it up.
  """
  groups = _groups(rows)
  jobs = {
    name: tuple(_spread([_part(clips[row["name"]], row) for row in some], POOLED if together else SECONDS))
    for (together, name), some in groups.items()
    if _seconds(some) >= sync.MIN_SECONDS
  }
  bar = Progress("sound against mouth", len(jobs), "answers")
  kept = Kept(work / CACHE)
  keys = [short("sync", str(job), *(stamp(clip.path) for clip in job)) for job in jobs.values()]
  found = dict(zip(jobs, kept.map(engine, measure, list(jobs.values()), keys, bar.step), strict=True)) if jobs else {}
  bar.close()
  told, counts = {}, Counter()
  for (_, name), some in groups.items():
    answer = _answer(_seconds(some), found.get(name), len({row["recording"] for row in some}))
    for row in some:
      row["sync"] = answer
      if answer["offset"] is not None and abs(answer["offset"]) >= FLAGGED:
        row["flags"] = [*row["flags"], "sync"]
    told[name] = _text(answer)
    counts[_way(answer)] += len(some)
  for row in rows:
    if not row["fault"] and "sync" not in row:
      row["sync"] = _unknown("silent" if "silent" in row["flags"] else "no face is seen")
      counts[_way(row["sync"])] += 1
  line = "sound against mouth: " + (", ".join(f"{way}: {count}" for way, count in counts.most_common()) or "no clips")
  if len(told) > _LISTED:
    few = [name for name, text in told.items() if text.startswith("unknown")]
    told = {name: text for name, text in told.items() if name not in few} | {f"{len(few)} more": "unknown"}
  return told, line


def _groups(rows):
  """(whether several recordings stand together, name) -> rows that are taken for one answer."""
  recordings, groups = defaultdict(list), defaultdict(list)
  for row in rows:
    if not row["fault"] and not {"no_face", "silent"} & set(row["flags"]):
      recordings[row["recording"]].append(row)
  for recording, some in sorted(recordings.items()):
    if _seconds(some) >= sync.MIN_SECONDS:
      groups[False, recording] = some
    else:
      facts, place = some[0]["facts"], os.path.dirname(some[0]["path"])
      camera = [facts.get(name) for name in ("fps", "width", "height", "sample_rate")]
      groups[True, (some[0]["episode"], place, *map(str, camera))] += some
  names = Counter(name[0] for together, name in groups if together)

  def called(together, name, some):
    if not together:
      return name
    count = len({row["recording"] for row in some})
    where = "" if names[name[0]] == 1 else f" in {name[1]}, {name[3]} x {name[4]} at {name[2]} a second, {name[5]} Hz"
    return f"{count} short recordings of {name[0]}{where}" if count > 1 else some[0]["recording"]

  return {(together, called(together, name, some)): some for (together, name), some in groups.items()}


def _seconds(rows):
  """That can be looked at."""
  return sum(row["length"] for row in rows if row["length"] >= _LEAST)


def _part(clip, row):
  return replace(clip, start=row["start"], length=row["length"], crop="")


def _spread(clips, seconds):
  """Parts of the clips, evenly spread over them, of so many seconds in all; neighbours in one."""
  windows = []
  for clip in clips:
    count = max(1, round(clip.length / _WINDOW))
    length = clip.length / count
    if length >= _LEAST:
      windows += [replace(clip, start=clip.start + n * length, length=length) for n in range(count)]
  if not windows:
    return []
  wanted = min(len(windows), max(1, round(seconds * len(windows) / sum(window.length for window in windows))))
  chosen = [windows[int((n + 0.5) * len(windows) / wanted)] for n in range(wanted)]
  joined = chosen[:1]
  for window in chosen[1:]:
    last = joined[-1]
    if window.path == last.path and abs(last.start + last.length - window.start) < 1e-6:
      joined[-1] = replace(last, length=last.length + window.length)
    else:
      joined.append(window)
  return joined


def measure(clips: Sequence[FileClip]) -> list:
  """Looks at mouths and listens. Args: clips: whose offset is one. Returns: [seconds looked at, *sync.Sync]."""
  openings, mels = [], []
  for clip in clips:
    try:
      heard = audio.read_audio(clip.path, start=clip.start, length=clip.length)
      parts = []
      for begin in np.arange(0.0, clip.length - 0.5 / sync.RATE, _PART):
        length = min(_PART, clip.length - begin)
        frames = video.read_video(clip.path, sync.RATE, start=clip.start + begin, length=length, max_height=_HEIGHT)
        parts.append(face.mouth_opening(frames[: round(sync.RATE * _PART)]))
    except InputError:
      continue  # the records of the clip tell why
    openings.append(np.concatenate(parts))
    mels.append(audio.log_mel(heard, sync.STEP * len(openings[-1])))
  return [sum(map(len, openings)) / sync.RATE, *sync.estimate(openings, mels)]


def _answer(seconds, found, recordings):
  """What stands in the manifest; None as the offset: unknown, and `why`."""
  if found is None:
    clips = f"{seconds:.0f} s in clips of {_LEAST:.0f} s and more"
    return _unknown(f"{clips}, and {sync.MIN_SECONDS:.0f} s are needed", recordings)
  looked, *rest = found
  answer = sync.Sync(*rest)
  said = {"seconds": round(looked, 1), "recordings": recordings, "confidence": round(answer.confidence, 3)}
  said["correlation"] = round(answer.correlation, 3)
  if not answer.known:
    return _unknown("no offset does clearly better than others", recordings) | said
  return said | {"offset": answer.lag, "why": ""}


def _unknown(why, recordings=1):
  return {"offset": None, "confidence": 0.0, "correlation": 0.0, "seconds": 0.0, "recordings": recordings, "why": why}


def _way(answer):
  if answer["offset"] is None:
    return f"unknown ({answer['why']})"
  if abs(answer["offset"]) < FLAGGED:
    return f"within {FLAGGED - 1} frames"
  return f"{abs(answer['offset'])} frames {'late' if answer['offset'] > 0 else 'early'} (flagged)"


def _text(answer):
  if not answer["seconds"]:
    return _way(answer)
  numbers = f"confidence {answer['confidence']:.2f}, correlation {answer['correlation']:.2f}"
  offset = "" if answer["offset"] is None else f"offset {answer['offset']:+d} frames, "
  return f"{_way(answer)}; {offset}{numbers}, {answer['seconds']:.0f} s looked at"
