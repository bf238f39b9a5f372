"""Digits to test with: numerals drawn by OpenCV, in MNIST's files."""

import gzip
import struct
from pathlib import Path

import cv2
import numpy as np

FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX)


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Numerals in four fonts, moved, turned and thickened at random. Returns: uint8 [n 28 28], uint8 [n]."""
  rng = np.random.default_rng(seed)
  pictures, labels = [], rng.integers(0, 10, count).astype(np.uint8)
  for label in labels:
    picture = np.zeros((28, 28), np.uint8)
    font, thickness = FONTS[rng.integers(len(FONTS))], int(rng.integers(1, 4))
    cv2.putText(picture, str(label), (6, 22), font, 0.75, 255, thickness, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((14, 14), rng.uniform(-15, 15), rng.uniform(0.9, 1.2))
    turn[:, 2] += rng.uniform(-2, 2, 2)
    pictures.append(cv2.warpAffine(picture, turn, (28, 28)))
  return np.stack(pictures), labels


def write_idx(path: Path, array: np.ndarray) -> None:
  """An idx file of bytes, zipped where the name says so."""
  head = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
  with (gzip.open if path.suffix == ".gz" else open)(path, "wb") as file:
    file.write(head + array.astype(np.uint8).tobytes())


def folder(root: Path, train: int = 40, test: int = 12) -> Path:
  """MNIST's four files with drawn numerals."""
  root.mkdir(parents=True, exist_ok=True)
  for name, count in (("train", train), ("t10k", test)):
    pictures, labels = drawn(count, seed=count)
    write_idx(root / f"{name}-images-idx3-ubyte.gz", pictures)
    write_idx(root / f"{name}-labels-idx1-ubyte", labels)
  return root
