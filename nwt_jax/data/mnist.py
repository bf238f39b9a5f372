"""MNIST in the form of the models' input: 32 x 32 grey pictures of one frame, from its idx files (appendix A)."""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from nwt_jax.errors import InputError

SIZE = 32  # pixels: the files' 28 in a frame of background, so that five halvings give one place
BACKGROUND = 128  # the byte that models see as 0
DOWNLOAD = "tfds"  # instead of a folder
FILES = {"train": "train", "test": "t10k"}


class Digits(NamedTuple):
  """A split of MNIST. pictures: uint8 [n 1 32 32 1], one frame and one colour each. labels: int32 [n]."""

  pictures: np.ndarray
  labels: np.ndarray

  def fingerprint(self) -> str:
    """Returns the SHA-256 of pictures and labels."""
    return hashlib.sha256(self.pictures.tobytes() + self.labels.tobytes()).hexdigest()


def read_digits(path: str | Path, split: str) -> Digits:
  """Reads a split of MNIST.

  Args: path: folder with MNIST's four idx files (train-images-idx3-ubyte, ...), .gz or not; or DOWNLOAD, for those
    that TensorFlow Datasets downloads. split: "train" (60,000) or "test" (10,000).
  Raises: InputError: a file is missing or damaged, or the download fails.
  """
  find = _download if str(path) == DOWNLOAD else lambda name: _find(Path(path), name)
  pictures = read_idx(find(f"{FILES[split]}-images-idx3-ubyte"), 3)
  labels = read_idx(find(f"{FILES[split]}-labels-idx1-ubyte"), 1)
  if len(pictures) != len(labels) or pictures.shape[1:] != (28, 28):
    raise InputError(f"{path}: pictures {pictures.shape} and labels {labels.shape} of {split} do not belong together")
  return Digits(framed(pictures), labels.astype(np.int32))


def check_files(path: str | Path) -> None:
  """Checks, without reading or downloading, that MNIST's files are in the folder. Raises: InputError: one is not."""
  if str(path) != DOWNLOAD:
    for split in FILES.values():
      for part in ("images-idx3", "labels-idx1"):
        _find(Path(path), f"{split}-{part}-ubyte")


def framed(pictures: np.ndarray) -> np.ndarray:
  """Converts uint8 [n 28 28] to [n 1 32 32 1] of bytes 128 (background) to 255 (ink), which are 0 to 1 for models.

  GAP: MNIST's range is not given. With the background at -1, where tanh saturates, a generator that draws background
  alone gets no gradient, and an encoder's input is one large constant.
  """
  return np.pad(BACKGROUND + pictures // 2, ((0, 0), (2, 2), (2, 2)), constant_values=BACKGROUND)[:, None, :, :, None]


def unframed(pictures: np.ndarray) -> np.ndarray:
  """Converts bytes of `framed`, of any shape, to 0 to 254, for viewing."""
  return 2 * (np.maximum(pictures, BACKGROUND) - BACKGROUND)


def _find(folder: Path, name: str) -> Path:
  for path in (folder / f"{name}.gz", folder / name):
    if path.is_file():
      return path
  raise InputError(f"{folder} has no {name}.gz; give the folder with MNIST's four idx files, or {DOWNLOAD!r}")


def _download(name: str) -> Path:
  """Downloads one of MNIST's files, once, from TFDS's address and with TFDS's checksum.

  TFDS's own builder of MNIST is not used, because it reads these files through TensorFlow.
  """
  known = tfds.image_classification.MNIST.url_infos
  url = next(url for url in known if url.endswith(f"/{name}.gz"))
  folder = Path(tfds.core.constants.DATA_DIR).expanduser() / "downloads"
  try:
    manager = tfds.download.DownloadManager(download_dir=folder, url_infos=known, force_checksums_validation=True)
    return Path(manager.download(url))
  except (OSError, tfds.download.DownloadError, tfds.core.download.download_manager.NonMatchingChecksumError) as error:
    why = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise InputError(f"{url} cannot be downloaded ({why}); give a folder with MNIST's four idx files") from error


def read_idx(path: Path, axes: int) -> np.ndarray:
  """Reads an idx file of bytes with `axes` axes. Raises: InputError: the file is none, or is cut short."""
  try:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
      data = file.read()
    magic, *shape = struct.unpack(f">{1 + axes}I", data[: 4 * (1 + axes)])
    if magic != 0x0800 + axes:
      raise ValueError(f"its first bytes are {data[:4].hex()}, wanted {0x0800 + axes:08x}")
    return np.frombuffer(data, np.uint8, offset=4 * (1 + axes)).reshape(shape)
  except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
    raise InputError(f"{path} is no whole idx file ({error}); download it again") from error


def moved(pictures: np.ndarray, offsets: np.ndarray, most: int) -> np.ndarray:
  """Returns pictures [n 1 h w 1] moved down and right by `offsets` [n 2], from -most to most pixels; borders repeat."""
  _, _, rows, columns, _ = pictures.shape
  padded = np.pad(pictures, ((0, 0), (0, 0), (most, most), (most, most), (0, 0)), mode="edge")
  corners = zip(padded, most - offsets, strict=True)
  return np.stack([picture[:, y : y + rows, x : x + columns] for picture, (y, x) in corners])


def digit_batches(
  digits: Digits,
  batch_size: int,
  seed: int,
  start_step: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  shift: int = 0,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields endless shuffled batches; batch number n is a function of the pictures, batch_size, seed and shift.

  Each process reads its own rows of a batch (see data.batches.video_batches).

  Args: shift: pixels by which each picture is moved at random along each axis, at most.
  Yields: "video" uint8 [b 1 32 32 1], "episode" int32 [b] (0), "label" int32 [b].
  """
  import grain  # here, because grain imports jax where jax is installed, and nothing else in data/ does

  if not 1 <= batch_size <= len(digits.labels):
    raise InputError(f"a batch of {batch_size} from {len(digits.labels)} pictures; change --config.data.batch_size")
  plan = grain.MapDataset.range(len(digits.labels)).seed(seed).shuffle().repeat()
  local = batch_size // process_count
  batches = plan.batch(batch_size, drop_remainder=True)[start_step:]
  for number, picks in enumerate(batches, start_step):
    mine = slice(process_index * local, (process_index + 1) * local)
    offsets = shift - np.random.default_rng((seed, number)).integers(0, 2 * shift + 1, (batch_size, 2))
    yield {
      "video": moved(digits.pictures[picks[mine]], offsets[mine], shift),
      "episode": np.zeros(local, np.int32),
      "label": digits.labels[picks[mine]],
    }
