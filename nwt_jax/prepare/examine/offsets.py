"""Estimates the offset between sound and mouth, once per recording, or for short recordings together (D.5).

At most SECONDS of a recording, or POOLED seconds of short ones together, are measured, spread over the whole.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nwt_jax.errors import InputError
from nwt_jax.io import audio, mel, video
from nwt_jax.io.progress import Progress
from nwt_jax.metrics import face, sync
from nwt_jax.prepare.cache import CACHE, ResultCache, file_stamp, short_hash
from nwt_jax.prepare.clip import ClipRecord
from nwt_jax.prepare.engines.beam import Beam
from nwt_jax.prepare.engines.local import Local

FLAGGED = 4  # frames from which an offset is flagged: 0.13 s, which ITU-R BT.1359 finds to be noticed
SECONDS, POOLED = 30.0, 45.0  # measured at most: of a recording, and of short recordings together
_WINDOW = 6.0  # seconds measured at a time
_LEAST = 2.0  # seconds: in a shorter clip there are few moments at which all offsets can be tried
_PART, _HEIGHT = 10.0, 480  # seconds and pixels of height read at once, so that memory does not grow
_LISTED = 20  # answers that the report names one by one


def estimate_offsets(
  clips: Sequence[ClipRecord], work: Path, engine: Local | Beam
) -> tuple[list[ClipRecord], dict[str, str], str]:
  """Sets `sync` of each clip, and flags the clips of takes whose sound comes early or late.

  A take of at least sync.MIN_SECONDS gets an estimate of its own. Shorter takes share one where they have the same
  episode, folder, picture size and frame rate: presumably one camera recorded them, with one offset.

  Args: work: OUTPUT.work.
  Returns: the clips; the result of each take, or group of takes, for the report; one line that sums them up.
  """
  groups = _groups(clips)
  jobs = {
    name: tuple(_spread([replace(clip, crop="") for clip in some], POOLED if together else SECONDS))
    for (together, name), some in groups.items()
    if _seconds(some) >= sync.MIN_SECONDS
  }
  bar = Progress("sound against mouth", len(jobs), "answers")
  cache = ResultCache(work / CACHE)
  keys = [short_hash("sync", _key(job), *(file_stamp(clip.path) for clip in job)) for job in jobs.values()]
  found = dict(zip(jobs, cache.map(engine, measure, list(jobs.values()), keys, bar.step), strict=True)) if jobs else {}
  bar.close()
  answers, report, counts = {}, {}, Counter()
  for (_, name), some in groups.items():
    answer = _answer(_seconds(some), found.get(name), len({clip.take for clip in some}))
    answers |= {clip.name: answer for clip in some}
    report[name] = _text(answer)
    counts[_summary(answer)] += len(some)
  for clip in clips:
    if not clip.fault and clip.name not in answers:
      answers[clip.name] = _unknown("silent" if "silent" in clip.flags else "no face is seen")
      counts[_summary(answers[clip.name])] += 1
  line = "sound against mouth: " + (", ".join(f"{what}: {count}" for what, count in counts.most_common()) or "no clips")
  if len(report) > _LISTED:
    few = [name for name, text in report.items() if text.startswith("unknown")]
    report = {name: text for name, text in report.items() if name not in few} | {f"{len(few)} more": "unknown"}
  return [_answered(clip, answers.get(clip.name)) for clip in clips], report, line


def _key(job):
  """Returns a job as text: the key of results in OUTPUT.work, so it must not change."""
  return f"({', '.join(clip.key for clip in job)}{',' if len(job) == 1 else ''})"


def _answered(clip, answer):
  clip = replace(clip, sync=answer)
  flagged = answer is not None and answer["offset"] is not None and abs(answer["offset"]) >= FLAGGED
  return clip.with_flags("sync") if flagged else clip


def _groups(clips):
  """Groups the clips that share one estimate. Returns: (whether they are several takes, name) -> clips."""
  takes, groups = defaultdict(list), defaultdict(list)
  for clip in clips:
    if not clip.fault and not {"no_face", "silent"} & set(clip.flags):
      takes[clip.take].append(clip)
  for take, some in sorted(takes.items()):
    if _seconds(some) >= sync.MIN_SECONDS:
      groups[False, take] = some
    else:
      clip = some[0]
      camera = [clip.facts.get(name) for name in ("fps", "width", "height", "sample_rate")]
      groups[True, (clip.episode, os.path.dirname(clip.origin), *map(str, camera))] += some
  names = Counter(name[0] for together, name in groups if together)

  def called(together, name, some):
    if not together:
      return name
    count = len({clip.take for clip in some})
    where = "" if names[name[0]] == 1 else f" in {name[1]}, {name[3]} x {name[4]} at {name[2]} a second, {name[5]} Hz"
    return f"{count} short recordings of {name[0]}{where}" if count > 1 else some[0].take

  return {(together, called(together, name, some)): some for (together, name), some in groups.items()}


def _seconds(clips):
  """Returns the total length of the clips that are long enough to measure, seconds."""
  return sum(clip.length for clip in clips if clip.length >= _LEAST)


def _spread(clips, seconds):
  """Returns parts of the clips, evenly spread, of `seconds` in all; neighbouring parts are joined."""
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


def measure(clips: Sequence[ClipRecord]) -> list:
  """Measures the offset of clips. Args: clips: clips with one offset. Returns: [seconds measured, *sync.Sync]."""
  openings, mels = [], []
  for clip in clips:
    assert clip.length is not None
    try:
      samples = audio.read_audio(clip.path, start=clip.start, length=clip.length)
      parts = []
      for begin in np.arange(0.0, clip.length - 0.5 / sync.RATE, _PART):
        length = min(_PART, clip.length - begin)
        frames = video.read_video(clip.path, sync.RATE, start=clip.start + begin, length=length, max_height=_HEIGHT)
        parts.append(face.mouth_opening(frames[: round(sync.RATE * _PART)]))
    except InputError:
      continue  # the records of the clip tell why
    openings.append(np.concatenate(parts))
    mels.append(mel.log_mel(samples, sync.STEP * len(openings[-1])))
  return [sum(map(len, openings)) / sync.RATE, *sync.estimate(openings, mels)]


def _answer(seconds, found, recordings):
  """Returns the manifest's entry; where the offset is not known it is None, and `why` has the reason."""
  if found is None:
    enough = f"{seconds:.0f} s in clips of {_LEAST:.0f} s and more"
    return _unknown(f"{enough}, and {sync.MIN_SECONDS:.0f} s are needed", recordings)
  looked, *rest = found
  answer = sync.Sync(*rest)
  numbers = {"seconds": round(looked, 1), "recordings": recordings, "confidence": round(answer.confidence, 3)}
  numbers["correlation"] = round(answer.correlation, 3)
  if not answer.known:
    return _unknown("no offset does clearly better than others", recordings) | numbers
  return numbers | {"offset": answer.lag, "why": ""}


def _unknown(why, recordings=1):
  return {"offset": None, "confidence": 0.0, "correlation": 0.0, "seconds": 0.0, "recordings": recordings, "why": why}


def _summary(answer):
  if answer["offset"] is None:
    return f"unknown ({answer['why']})"
  if abs(answer["offset"]) < FLAGGED:
    return f"within {FLAGGED - 1} frames"
  return f"{abs(answer['offset'])} frames {'late' if answer['offset'] > 0 else 'early'} (flagged)"


def _text(answer):
  if not answer["seconds"]:
    return _summary(answer)
  numbers = f"confidence {answer['confidence']:.2f}, correlation {answer['correlation']:.2f}"
  offset = "" if answer["offset"] is None else f"offset {answer['offset']:+d} frames, "
  return f"{_summary(answer)}; {offset}{numbers}, {answer['seconds']:.0f} s looked at"
