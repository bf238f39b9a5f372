"""Makes a data set for training from recordings of talking people: appendix D, step by step."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nwt_jax.data import dataset
from nwt_jax.errors import InputError
from nwt_jax.metrics import face
from nwt_jax.prepare import cache
from nwt_jax.prepare.acquire.gather import describe, gather, list_recordings
from nwt_jax.prepare.acquire.recordings import Recording
from nwt_jax.prepare.clip import ClipRecord
from nwt_jax.prepare.engines.beam import Beam
from nwt_jax.prepare.engines.local import Local
from nwt_jax.prepare.examine import crops
from nwt_jax.prepare.examine.compare import compare
from nwt_jax.prepare.examine.duplicates import join_duplicates
from nwt_jax.prepare.examine.examination import examine_all
from nwt_jax.prepare.options import PrepareOptions
from nwt_jax.prepare.review import manifest, results, summary
from nwt_jax.prepare.write import splits
from nwt_jax.prepare.write.records import talker_clips
from nwt_jax.prepare.write.shards import ShardWriter


def prepare(options: PrepareOptions) -> dict[str, Any] | None:
  """Makes a data set of clips.

  Steps that were finished before an error are kept in OUTPUT.work for the next call. An existing data set of the same
  request is returned as it is.

  Returns: the data set's metadata; None with `stop_after`.
  Raises: InputError: the input cannot be used, as its line explains. MachineError: no input is to blame.
  Source: appendix D.
  """
  options = options.checked()
  decisions, dropped = options.read_decisions(), options.dropped_flags
  recordings = [] if options.input is None else list_recordings(options, _log)
  if recordings:
    splits.check_holdout(recordings, options.holdout_episodes)  # before hours of looking at clips
  request = _request(options, recordings, decisions, dropped)
  if not options.stop_after:
    if not options.overwrite and (done := _already(options.output, request)):
      return done
    dataset.check_output(options.output, options.overwrite)
  with cache.workdir(options.output) as work, _engine(options, work) as engine:
    facts = {**vars(options.picture), "crop": options.crop, "seed": options.seed, "request": request}
    writer = ShardWriter(options, work, facts)
    if options.talker is not None:
      return _prepare_talker(options, writer, engine)
    clips = gather(recordings, options, work, _log)  # D.1 and D.2: files, and the segments of files
    if options.stop_after in ("acquire", "split"):
      here = sum(bool(clip.path) for clip in clips)
      lost = len(clips) - here
      print(f"{here} clips, {lost} recordings lost; next: the same command without --stop_after")
      return None
    if options.faces and not options.examine.faces:
      _log(f"faces, and sound against mouth, are not looked at: {face.INSTALL}")
    _check_decisions(clips, decisions)
    clips = examine_all(clips, options.examine, work, engine, _log)  # D.4: ends trimmed; D.5: examined
    clips = crops.choose(clips, options.crop, options.width / options.height, _log)  # D.3: the part that is kept  # ty: ignore[invalid-argument-type]
    check_budget(clips, options.max_bad_fraction)
    clips = join_duplicates(clips)  # for D.10: the same recording never lies in two splits
    folder = work if options.stop_after else Path(options.output)
    clips, comparison = compare(clips, options.examine.faces, folder, work, engine)  # D.5
    clips = [manifest.decide(clip, decisions, dropped) for clip in clips]  # D.5
    lines = [*comparison.lines, *crops.report_lines(clips, options.crop, options.height)]  # ty: ignore[invalid-argument-type]
    if options.stop_after == "examine":
      print("\n".join([*lines, *results.write_review(work, clips, comparison, recordings)]))
      return None
    episodes = sorted({clip.episode for clip in clips if clip.kept})
    finish = partial(results.write_results, work=work, comparison=comparison, recordings=recordings)
    metadata = writer.write(clips, episodes, engine, finish)  # D.6 to D.10: masked, at 30 a second, in their splits
    cache.clear(work)
  print("\n".join([*lines, *summary.lines(options.output, metadata)]))
  return metadata


def check_budget(clips: Sequence[ClipRecord], max_bad_fraction: float) -> None:
  """Raises: InputError: the share of clips with faults exceeds `max_bad_fraction`."""
  bad = Counter(clip.fault for clip in clips if clip.fault)
  if clips and sum(bad.values()) == len(clips):
    raise InputError(f"none of the {len(clips)} clips can be used; the first: {clips[0].reason}")
  if sum(bad.values()) > max_bad_fraction * len(clips):
    causes = ", ".join(f"{count} {fault}" for fault, count in bad.most_common())
    count = f"{sum(bad.values())} of {len(clips)} clips are at fault"
    raise InputError(f"{count} ({causes}), more than --max_bad_fraction={max_bad_fraction:g}")


def _prepare_talker(options: PrepareOptions, writer: ShardWriter, engine: Local | Beam) -> dict[str, Any]:
  """Prepares the synthetic talker's clips; they need no acquisition or examination, only D.10."""
  from nwt_jax.talker.people import EPISODES

  metadata = writer.write(talker_clips(options.talker, options.seed), EPISODES, engine, lambda *_: None)  # ty: ignore[invalid-argument-type]
  cache.clear(writer.work)
  print("\n".join(summary.lines(options.output, metadata)))
  return metadata


def _check_decisions(clips: Sequence[ClipRecord], decisions: Mapping[str, Mapping]) -> None:
  if unknown := sorted(set(decisions) - {clip.name for clip in clips if clip.path}):
    _log(f"{len(unknown)} decisions are for clips that are not here, {unknown[0]!r} first")


def _engine(options: PrepareOptions, work: Path) -> Local | Beam:
  return Beam(options.beam_options.split(), work) if options.engine == "beam" else Local(options.workers)


def _request(options: PrepareOptions, recordings: Sequence[Recording], decisions: Mapping, dropped: set[str]) -> str:
  """Returns the SHA-256 of everything that a data set's clips depend on.

  metadata.json stores it, and it is compared with those that earlier versions wrote: it must not change."""
  request = [dataset.FORMAT, vars(options.picture), options.records_per_shard, options.seed]
  request += [sorted(options.holdout_episodes), sorted(dropped), decisions]  # ty: ignore[unsupported-operator]
  request += [options.deal] if options.deal else []  # ty: ignore[unsupported-operator]
  if options.talker is not None:
    request.append(options.talker)
  else:
    examined_with = {"trim": options.trim, "faces": options.examine.faces, "piece": False}
    request += [options.crop, examined_with, describe(recordings, options.split_seconds)]  # ty: ignore[unsupported-operator]
  return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _already(output, request):
  """Returns the metadata of an existing data set of this request, or None."""
  try:
    metadata = json.loads((Path(output) / "metadata.json").read_text())
    if metadata["request"] != request:
      return None
    lost = sum("could not be downloaded" in reason for reason in metadata["skipped"].values())
  except (OSError, ValueError, KeyError, TypeError):
    return None
  retry = f" (--overwrite tries {lost} addresses again)" if lost else ""
  _log(f"{output} already holds this data set; nothing to do{retry}")
  return metadata


def _log(text):
  print(text, file=sys.stderr, flush=True)
