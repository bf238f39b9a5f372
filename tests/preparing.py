"""Preparation as tests call it: one line for its options, and one for a clip that is examined."""

from nwt_jax.prepare import pipeline
from nwt_jax.prepare.clip import ClipRecord
from nwt_jax.prepare.examine.examination import examine
from nwt_jax.prepare.options import ExamineOptions, PrepareOptions
from nwt_jax.prepare.write import records


def prepare(output, input=None, **options):
  """Args: as the flags of the same names. Returns: the data set's metadata, or None."""
  return pipeline.prepare(PrepareOptions(output, None if input is None else str(input), **options))


def file_clip(path, start=0.0, length=None, name="c", **more):
  """A part of a file as a clip."""
  where = {"recording": name, "take": name, "origin": str(path), "path": str(path)}
  return ClipRecord(name, "default", f"clip {name}", start=start, length=length, **where | more)


def examined(path, start=0.0, length=None, trim=False, faces=False, **more):
  """The clip, examined."""
  clip, _ = examine(file_clip(path, start, length, **more), ExamineOptions(trim, faces))
  return clip


def frames_of(path, picture, start=0.0, length=None, **more):
  """Frames and sound of a part of a file, as preparation reads them."""
  return records.read_clip(file_clip(path, start, length, **more), picture)[:2]
