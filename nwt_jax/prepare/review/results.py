"""Writes the files for people: the page to review clips on, or the manifest and the report (appendix D.5)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from nwt_jax.prepare.acquire.recordings import Recording
from nwt_jax.prepare.cache import picture_of
from nwt_jax.prepare.clip import ClipRecord
from nwt_jax.prepare.examine import people
from nwt_jax.prepare.examine.compare import Comparison
from nwt_jax.prepare.review import manifest, pages


def write_review(
  work: Path, clips: Sequence[ClipRecord], comparison: Comparison, recordings: Sequence[Recording]
) -> list[str]:
  """Writes review.html beside its pictures. Returns: lines with instructions."""
  pictures = {name: path.relative_to(work).as_posix() for name, path in _pictures(work, clips).items()}
  again = "the same command, with --decisions=decisions.json and without --stop_after"
  shown = [clip for clip in clips if not clip.fault]
  pages.write_review(work / pages.REVIEW, shown, pictures, again, comparison.faces)
  manifest.write(work / manifest.NAME, manifest.draft_rows(clips))
  if comparison.groups:
    people.write(work / people.NAME, comparison.groups, recordings)
  flags = Counter(flag for clip in shown for flag in clip.flags)
  return [
    f"{len(shown)} clips to review, {len(clips) - len(shown)} rejected",
    *(f"  {flag:14} {count:6}" for flag, count in flags.most_common()),
    f"open {work / pages.REVIEW}, save decisions.json, then: {again}",
  ]


def write_results(
  folder: Path,
  clips: Sequence[ClipRecord],
  assigned: Mapping[str, Sequence[str]],
  metadata: Mapping,
  work: Path,
  comparison: Comparison,
  recordings: Sequence[Recording],
) -> None:
  """Writes manifest.jsonl and report.html into the folder of a data set."""
  if comparison.groups:
    people.write(folder / people.NAME, comparison.groups, recordings)
  manifest.write(folder / manifest.NAME, manifest.rows(clips, assigned))
  pages.write_report(folder / pages.REPORT, clips, _pictures(work, clips), metadata, comparison.syncs, comparison.faces)


def _pictures(work, clips):
  """Returns the strip of pictures of each clip that has one."""
  paths = {clip.name: picture_of(work, clip.name) for clip in clips}
  return {name: path for name, path in paths.items() if path.exists()}
