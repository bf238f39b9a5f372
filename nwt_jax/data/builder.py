"""Data sets on disk: ArrayRecord shards written by a TFDS builder without TensorFlow (appendix D, the last step).

DIR/metadata.json says what the data set is, DIR/index.json lists its records, DIR/NAME/1.0.0/ holds the shards.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from nwt_jax.errors import InputError
from nwt_jax.io.audio import MEL_BINS

FORMAT = 1  # of metadata.json and the records
VERSION = "1.0.0"  # of the shards, as TFDS wants it
OVERWRITE = "give another --output, or --overwrite to replace it"
METADATA, INDEX = "metadata.json", "index.json"


def clip_features():
  """What a record of a clip holds. Each frame is one JPEG or PNG, so that a window decodes only its frames."""
  return {
    "name": tfds.features.Text(),
    "episode": tfds.features.Scalar(np.int32),  # place in metadata's `episodes`; -1: held out
    "frame_count": tfds.features.Scalar(np.int32),
    "frames": tfds.features.Sequence(tfds.features.Tensor(shape=(), dtype=np.object_)),
    # Bytes, because TFDS would store plain tensors as lists of int64 or float, 18 times slower.
    "mel": tfds.features.Tensor(shape=(None, MEL_BINS), dtype=np.float32, encoding="bytes"),
    "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes"),
    "truth": tfds.features.Text(),
  }


def token_features(rows, columns, heads):
  """What a record of a tokenized clip holds. Args: rows, columns, heads: of one frame's codes."""
  return {
    "name": tfds.features.Text(),
    "episode": tfds.features.Scalar(np.int32),
    "frame_count": tfds.features.Scalar(np.int32),
    "codes": tfds.features.Tensor(shape=(None, rows, columns, heads), dtype=np.uint8, encoding="bytes"),
    "mel": tfds.features.Tensor(shape=(None, MEL_BINS), dtype=np.float32, encoding="bytes"),
    "truth": tfds.features.Text(),
  }


class Shards(tfds.core.ShardBasedBuilder):
  """Writes given records in the given order, shard by shard.

  ShardBasedBuilder, not GeneratorBasedBuilder: the latter keeps a split in memory to shuffle it, and beyond 1 GB moves
  it to files that it opens with TensorFlow. grain shuffles when reading.
  """

  VERSION = tfds.core.Version(VERSION)
  pkg_dir_path = None
  skip_registration = True

  def __init__(self, name, features, shards, data_dir):
    self.name = name
    self._features, self._shards = features, shards
    super().__init__(data_dir=data_dir, file_format="array_record")

  def _info(self):
    features = tfds.features.FeaturesDict(self._features)
    return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

  def _shard_iterators_per_split(self, dl_manager):
    return self._shards

  def _example_writer(self):
    return StableWriter(self.info.file_format)


class StableWriter(tfds.core.writer.ExampleWriter):
  """Writes a record's fields in one order, so that the same records are the same bytes: protobuf's maps have none."""

  def write(self, path, examples):
    """See the base class."""
    stable = (
      (key, tf_example_pb2.Example.FromString(data).SerializeToString(deterministic=True)) for key, data in examples
    )
    return super().write(path, stable)


def write_dataset(
  output,
  name: str,
  features: Mapping,
  splits: Mapping[str, tuple[int, Iterable[Mapping]]],
  describe: Callable[[], Mapping],
  records_per_shard: int,
  overwrite: bool = False,
  remedy: str = OVERWRITE,
) -> dict:
  """Writes a data set into a folder beside `output` and moves it there when it is whole.

  Args:
    output: folder to make. name: kind of data set ("clips", "tokens"). features: see clip_features.
    splits: for each split the most records it can have and its records, read once, in order. TFDS holds one shard's
      records in memory at a time.
    describe: gives the kind's own metadata; called when all records are written. overwrite: replace a data set there.
    remedy: what to do about a data set there, for the error.
  Returns: the metadata, as written: describe's, and format, kind, splits (records), frames (sums), fingerprint.
  Raises: InputError: `output` is in use (see check_output), or not one record is left to train on.
  """
  output = Path(output)
  check_output(output, overwrite, remedy)
  index = {split: [] for split in splits}
  try:
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}-building-", dir=output.parent))
  except OSError as error:
    raise InputError(f"cannot write {output}: {error}; give a folder that can be written to") from error
  try:
    shards = {
      split: _deal(records, limit, records_per_shard, index[split])
      for split, (limit, records) in splits.items()
      if limit
    }
    builder = Shards(name, features, shards, folder)
    # TFDS prints where it "downloads" to; the folder is temporary and there is no download.
    with contextlib.redirect_stdout(io.StringIO()):
      builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    if not index.get("train"):
      raise InputError("no clip is left to train on; see the clips that were left out above")
    metadata = {
      "format": FORMAT,
      "kind": name,
      **describe(),
      "splits": {split: len(rows) for split, rows in index.items()},
      "frames": {split: sum(row["frames"] for row in rows) for split, rows in index.items()},
    }
    metadata["fingerprint"] = _fingerprint(metadata, index)
    (folder / INDEX).write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")
    (folder / METADATA).write_text(json.dumps(metadata, indent=2, sort_keys=True) + "\n")
    os.chmod(folder, 0o755)  # mkdtemp makes private folders
    _move(folder, output)
  finally:
    shutil.rmtree(folder, ignore_errors=True)
  return metadata


def _deal(records, limit, per_shard, rows):
  records = iter(records)

  def shard() -> Iterator[tuple[int, Mapping]]:
    for record in itertools.islice(records, per_shard):
      rows.append({"name": record["name"], "episode": int(record["episode"]), "frames": int(record["frame_count"])})
      rows[-1]["sha256"] = _digest(record)
      yield len(rows) - 1, record

  return [shard] * -(-limit // per_shard)


def _digest(record):
  digest = hashlib.sha256()
  for key in sorted(record):
    value = record[key]
    for part in value if isinstance(value, list) else [value]:
      if not isinstance(part, bytes):
        part = np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else str(part).encode()
      digest.update(f"{key} {len(part)} ".encode() + part)
  return digest.hexdigest()


def _fingerprint(metadata, index):
  # Of what the records and the description say, not of the shard files: those may change with the library's version.
  said = json.dumps([{key: metadata[key] for key in sorted(metadata) if key != "request"}, index], sort_keys=True)
  return hashlib.sha256(said.encode()).hexdigest()


def check_output(output, overwrite=False, remedy=OVERWRITE):
  """Refuses a folder that a new data set would destroy.

  Args: output: the folder. overwrite: a data set there may be replaced. remedy: what else to do, for the error.
  Raises: InputError: a file, or a folder with other things in it; a data set, unless `overwrite`.
  """
  output = Path(output)
  if output.is_symlink() or (output.exists() and not output.is_dir()):
    raise InputError(f"{output} exists and is not a folder; give another folder")
  if not output.exists() or not any(output.iterdir()):
    return
  if not (output / METADATA).is_file():
    raise InputError(f"{output} holds something that is not a data set; give another folder")
  if not overwrite:
    raise InputError(f"{output} holds another data set; {remedy}")


def _move(folder, output):
  if not output.exists():
    os.rename(folder, output)
    return
  old = Path(tempfile.mkdtemp(prefix=f".{output.name}-old-", dir=output.parent))
  os.rename(output, old / "data")
  os.rename(folder, output)
  shutil.rmtree(old, ignore_errors=True)


def read_metadata(path, kind: str, remedy: str) -> dict:
  """Reads a data set's description.

  Args: path: its folder. kind: what it must be. remedy: the command that makes one, for the error.
  Raises: InputError: no data set there, another kind, or another format.
  """
  if not path:
    raise InputError(f"no data set was named; make one with `{remedy}` and pass --config.data.path=DIR")
  file = Path(path) / METADATA
  if not file.is_file():
    raise InputError(f"{path} holds no data set ({METADATA} is missing); make one with `{remedy}`")
  try:
    metadata = json.loads(file.read_text())
    found, version = metadata["kind"], metadata["format"]
  except (ValueError, KeyError, TypeError) as error:
    raise InputError(f"{file} is damaged; make the data set again with `{remedy}`") from error
  if found != kind:
    raise InputError(f"{path} holds {found}, wanted {kind}; make them with `{remedy}`")
  if version != FORMAT:
    raise InputError(f"{path} has format {version}, this version reads {FORMAT}; make it again with `{remedy}`")
  return metadata
