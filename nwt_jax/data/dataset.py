"""Data sets on disk: ArrayRecord shards in the format of TFDS, without TensorFlow (appendix D, the last step).

DIR/metadata.json says what the data set is, DIR/index.json lists its records, DIR/NAME/1.0.0/ holds the shards.
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from nwt_jax.errors import InputError
from nwt_jax.io.disk import writing
from nwt_jax.io.mel import MEL_BINS

FORMAT = 1  # of metadata.json and the records
VERSION = "1.0.0"  # of the shards, as TFDS wants it
FILES = tfds.core.FileFormat.ARRAY_RECORD
OVERWRITE = "give another --output, or --overwrite to replace it"
METADATA, INDEX = "metadata.json", "index.json"


def clip_features() -> dict[str, Any]:
  """Returns the features of a clip's record. Each frame is a JPEG or PNG, so that a window decodes only its frames."""
  return {
    "name": tfds.features.Text(),
    "episode": tfds.features.Scalar(np.int32),  # index into metadata's `episodes`; -1: held out
    "frame_count": tfds.features.Scalar(np.int32),
    "frames": tfds.features.Sequence(tfds.features.Tensor(shape=(), dtype=np.object_)),
    # Bytes, because TFDS would store plain tensors as lists of int64 or float, 18 times slower.
    "mel": tfds.features.Tensor(shape=(None, MEL_BINS), dtype=np.float32, encoding="bytes"),
    "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes"),
    "truth": tfds.features.Text(),
  }


def token_features(rows: int, columns: int, heads: int) -> dict[str, Any]:
  """Returns the features of a tokenized clip's record. Args: rows, columns, heads: the shape of a frame's codes."""
  return {
    "name": tfds.features.Text(),
    "episode": tfds.features.Scalar(np.int32),
    "frame_count": tfds.features.Scalar(np.int32),
    "codes": tfds.features.Tensor(shape=(None, rows, columns, heads), dtype=np.uint8, encoding="bytes"),
    "mel": tfds.features.Tensor(shape=(None, MEL_BINS), dtype=np.float32, encoding="bytes"),
    "truth": tfds.features.Text(),
  }


class Serializer:
  """Serializes records for a shard. Args: features: see clip_features."""

  def __init__(self, features: Mapping):
    self._features = tfds.features.FeaturesDict(features)
    self._serializer = tfds.core.example_serializer.ExampleSerializer(self._features.get_serialized_info())

  def __call__(self, record: Mapping) -> tuple[dict, bytes]:
    """Serializes a record. Returns: its row of the index, and its bytes."""
    row = {"name": record["name"], "episode": int(record["episode"]), "frames": int(record["frame_count"])}
    data = self._serializer.serialize_example(self._features.encode_example(record))
    # Fields in one order, so that the same records are the same bytes: protobuf's maps have none.
    stable = tf_example_pb2.Example.FromString(data).SerializeToString(deterministic=True)
    return row | {"sha256": _digest(record)}, stable


def write_shard(path: str | os.PathLike, records: Iterable[tuple[dict, bytes]]) -> list[dict]:
  """Writes one file of serialized records, in order.

  Args: path: file to write. records: read once, and all held in memory. Returns: their rows of the index.
  """
  records = list(records)
  with writing(path):  # ty: ignore[invalid-argument-type]
    tfds.core.writer.ExampleWriter(FILES).write(path, [(n, data) for n, (_, data) in enumerate(records)])
  return [row for row, _ in records]


def shard_paths(folder: str | os.PathLike, name: str, split: str, count: int) -> list[Path]:
  """Returns the paths of a split's shards, under the names that TFDS looks for."""
  return [Path(folder) / name / VERSION / f"{name}-{split}.array_record-{n:05d}-of-{count:05d}" for n in range(count)]


def new_folder(parent: Path, prefix: str) -> Path:
  """Makes a folder with a new name and the umask's permissions; those of tempfile.mkdtemp would be private."""
  folder = parent / f"{prefix}{os.getpid()}-{os.urandom(4).hex()}"
  folder.mkdir()
  return folder


@contextlib.contextmanager
def atomic_folder(output: str | os.PathLike, overwrite: bool = False, hint: str = OVERWRITE) -> Iterator[Path]:
  """Makes a folder beside `output` to build a data set in; it is moved to `output` at the end of the block, or removed
  after an error.

  Args: output: folder to make. overwrite: whether to replace a data set there. hint: advice for the error if there is
    one.
  Raises: InputError: `output` is in use (see check_output), or cannot be written.
  """
  output = Path(output)
  check_output(output, overwrite, hint)
  try:
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = new_folder(output.parent, f".{output.name}-building-")
  except OSError as error:
    raise InputError(f"cannot write {output}: {error}; give a folder that can be written to") from error
  try:
    yield folder
    _move(folder, output)
  finally:
    shutil.rmtree(folder, ignore_errors=True)


def describe_dataset(
  folder: str | os.PathLike, name: str, features: Mapping, shards: Mapping[str, list], facts: Mapping
) -> dict:
  """Writes all files of a data set but the shards: index, metadata, and TFDS's description.

  Args: folder: holds the shards. name: kind of data set. features: see clip_features. shards: for each split the
    index rows of each shard, in order. facts: the kind's own metadata.
  Returns: the metadata, as written: facts, and format, kind, splits (records), frames (sums), fingerprint, files.
  Raises: InputError: there is no record to train on.
  """
  folder = Path(folder)
  index = {split: [row for rows in files for row in rows] for split, files in shards.items()}
  if not index.get("train"):
    raise InputError("no clip is left to train on; see the clips that were left out above")
  target = folder / name / VERSION
  template = tfds.core.ShardedFileTemplate(
    data_dir=target,
    template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    dataset_name=name,
    filetype_suffix="array_record",
  )
  infos = [
    tfds.core.SplitInfo(
      name=split,
      shard_lengths=[len(rows) for rows in files],
      num_bytes=sum(path.stat().st_size for path in shard_paths(folder, name, split, len(files))),
      filename_template=template,
    )
    for split, files in shards.items()
    if index[split]
  ]
  tfds.folder_dataset.write_metadata(
    data_dir=target, features=features, split_infos=infos, filename_template=template, check_data=False
  )
  metadata = {
    "format": FORMAT,
    "kind": name,
    **facts,
    "splits": {split: len(rows) for split, rows in index.items()},
    "frames": {split: sum(row["frames"] for row in rows) for split, rows in index.items()},
  }
  metadata["fingerprint"] = _fingerprint(metadata, index)
  paths = [path for split, files in shards.items() for path in shard_paths(folder, name, split, len(files))]
  metadata["files"] = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
  (folder / INDEX).write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")
  (folder / METADATA).write_text(json.dumps(metadata, indent=2, sort_keys=True) + "\n")
  return metadata


def write_dataset(
  output: str | os.PathLike,
  name: str,
  features: Mapping,
  splits: Mapping[str, tuple[int, Iterable[Mapping]]],
  facts: Mapping,
  records_per_shard: int,
  overwrite: bool = False,
  hint: str = OVERWRITE,
) -> dict:
  """Writes a whole data set from a stream of records, or nothing after an error.

  Args: output, overwrite, hint: see atomic_folder. name, features, facts: see describe_dataset. splits: for each
    split the number of its records, and the records, which are read once, in order. records_per_shard: most records of
    a shard.
  Returns: the metadata, as written.
  Raises: InputError: see atomic_folder and describe_dataset.
  """
  with atomic_folder(output, overwrite, hint) as folder:
    (folder / name / VERSION).mkdir(parents=True)
    shards, serialize = {}, Serializer(features)
    for split, (count, records) in splits.items():
      records = map(serialize, records)
      paths = shard_paths(folder, name, split, -(-count // records_per_shard))
      shards[split] = [write_shard(path, itertools.islice(records, records_per_shard)) for path in paths]
    return describe_dataset(folder, name, features, shards, facts)


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
  # Nor of where others lie: they may be moved.
  facts = {key: metadata[key] for key in metadata if key not in ("request", "clips", "dvae")}
  if "skipped" in facts:
    facts["skipped"] = sorted(facts["skipped"])  # the reasons name paths
  text = json.dumps([facts, index], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def check_output(output: str | os.PathLike, overwrite: bool = False, hint: str = OVERWRITE) -> None:
  """Refuses a folder that a new data set would destroy.

  Args: output: the folder. overwrite: whether a data set there may be replaced. hint: advice for the error.
  Raises: InputError: `output` is a file, a folder with other contents, or, without `overwrite`, a data set.
  """
  output = Path(output)
  if output.is_symlink() or (output.exists() and not output.is_dir()):
    raise InputError(f"{output} exists and is not a folder; give another folder")
  if not output.exists() or not any(output.iterdir()):
    return
  if not (output / METADATA).is_file():
    raise InputError(f"{output} holds something that is not a data set; give another folder")
  if not overwrite:
    raise InputError(f"{output} holds another data set; {hint}")


def _move(folder, output):
  if not output.exists():
    os.rename(folder, output)
    return
  old = Path(tempfile.mkdtemp(prefix=f".{output.name}-old-", dir=output.parent))
  os.rename(output, old / "data")
  os.rename(folder, output)
  shutil.rmtree(old, ignore_errors=True)


def read_metadata(path: str | os.PathLike | None, kind: str, hint: str) -> dict:
  """Reads a data set's description.

  Args: path: its folder. kind: the kind that it must have. hint: the command that makes one, for the error.
  Raises: InputError: the folder has no data set, or one of another kind or format.
  """
  if not path:
    raise InputError(f"no data set was named; make one with `{hint}` and pass --config.data.path=DIR")
  file = Path(path) / METADATA
  if not file.is_file():
    raise InputError(
      f"{path} holds no data set ({METADATA} is missing); if it was moved, give its folder of today, as in "
      f"--config.data.path=DIR, or make one with `{hint}`"
    )
  try:
    metadata = json.loads(file.read_text())
    found, version = metadata["kind"], metadata["format"]
  except (ValueError, KeyError, TypeError) as error:
    raise InputError(f"{file} is damaged; make the data set again with `{hint}`") from error
  if found != kind:
    raise InputError(f"{path} holds {found}, wanted {kind}; make them with `{hint}`")
  if version != FORMAT:
    raise InputError(f"{path} has format {version}, this version reads {FORMAT}; make it again with `{hint}`")
  return metadata
