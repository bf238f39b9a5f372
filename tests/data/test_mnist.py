"""MNIST's files: what is read, what is refused, and batches as a function of the step."""

import functools
import hashlib
import http.server
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.checksums import UrlInfo
from tensorflow_datasets.core.utils import Size

from nwt_jax.data.mnist import digit_batches, moved, read_digits, unframed
from nwt_jax.errors import InputError
from tests.digits import drawn, folder, write_idx


def test_pictures_are_framed_with_background(tmp_path):
  digits = read_digits(folder(tmp_path), "train")
  pictures, labels = drawn(40, seed=40)
  assert digits.pictures.shape == (40, 1, 32, 32, 1)
  seen = digits.pictures[:, 0, :, :, 0]
  assert seen.dtype == np.uint8 and seen[:, 0].max() == seen.min() == 128 and seen.max() == 255
  np.testing.assert_allclose(unframed(seen)[:, 2:-2, 2:-2], pictures, atol=1)
  np.testing.assert_array_equal(digits.labels, labels)
  assert len(read_digits(tmp_path, "test").labels) == 12


def test_bad_files_are_refused_in_a_line(tmp_path):
  with pytest.raises(InputError, match="has no train-images-idx3-ubyte.gz; give"):
    read_digits(tmp_path, "train")
  root = folder(tmp_path / "cut")
  whole = (root / "t10k-labels-idx1-ubyte").read_bytes()
  (root / "t10k-labels-idx1-ubyte").write_bytes(whole[:-3])
  with pytest.raises(InputError, match="no whole idx file"):
    read_digits(root, "test")
  (root / "t10k-labels-idx1-ubyte").write_bytes(b"\x89PNG" + whole)
  with pytest.raises(InputError, match="wanted 00000801"):
    read_digits(root, "test")
  zipped = bytearray((root / "t10k-images-idx3-ubyte.gz").read_bytes())
  zipped[len(zipped) // 2] ^= 0xFF
  (root / "t10k-images-idx3-ubyte.gz").write_bytes(zipped)
  with pytest.raises(InputError, match="no whole idx file"):
    read_digits(root, "test")
  root = folder(tmp_path / "other")
  write_idx(root / "t10k-labels-idx1-ubyte", np.zeros(3))
  with pytest.raises(InputError, match="do not belong together"):
    read_digits(root, "test")


@pytest.fixture
def served(tmp_path, monkeypatch):
  """MNIST's files at an address that TFDS knows, and an empty cache. Yields: the folder that is served."""
  root = folder(tmp_path / "served")
  for path in root.glob("*ubyte"):
    write_idx(path.with_name(f"{path.name}.gz"), np.frombuffer(path.read_bytes()[8:], np.uint8))
    path.unlink()
  handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(root))
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    known = {}
    for path in root.glob("*.gz"):
      content = path.read_bytes()
      url = f"http://127.0.0.1:{server.server_port}/{path.name}"
      known[url] = UrlInfo(Size(len(content)), hashlib.sha256(content).hexdigest(), path.name)
    monkeypatch.setattr(tfds.image_classification.MNIST, "url_infos", known)
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "cache"))
    yield root
    server.shutdown()


def test_digits_are_downloaded_once_and_checked(served):
  expected = read_digits(served, "test")
  for path in served.glob("t10k-labels*"):
    path.write_bytes(path.read_bytes()[:-1] + b"?")
  with pytest.raises(InputError, match="t10k-labels-idx1-ubyte.gz cannot be downloaded.*give a folder"):
    read_digits("tfds", "test")
  got = read_digits("tfds", "train")
  for path in served.iterdir():
    path.unlink()  # the second time they come from the cache
  np.testing.assert_array_equal(read_digits("tfds", "train").pictures, got.pictures)
  assert (len(got.labels), len(expected.labels)) == (40, 12)


def test_a_batch_is_a_function_of_its_number(tmp_path):
  digits = read_digits(folder(tmp_path), "train")
  whole, late = digit_batches(digits, 16, seed=3), digit_batches(digits, 16, seed=3, start_step=2)
  first = [next(whole) for _ in range(5)]
  np.testing.assert_array_equal(first[2]["video"], next(late)["video"])
  np.testing.assert_array_equal(first[3]["label"], next(late)["label"])
  seen = np.concatenate([batch["label"] for batch in first])[:40]  # one epoch: every picture once
  np.testing.assert_array_equal(np.sort(seen), np.sort(digits.labels))
  with pytest.raises(InputError, match="batch of 41"):
    next(digit_batches(digits, 41, seed=0))


def test_pictures_move_by_seed_and_batch_number(tmp_path):
  digits, most = read_digits(folder(tmp_path), "train"), 2  # pixels of frame, so that nothing is pushed out

  def offsets(number, seed):
    pair = [next(digit_batches(digits, 16, seed, number, shift=shift))["video"] for shift in (0, most)]
    return [_offset(before[0, :, :, 0], after[0, :, :, 0], most) for before, after in zip(*pair, strict=True)]

  found = offsets(5, 3)
  assert {y for y, _ in found} == {x for _, x in found} == {-2, -1, 0, 1, 2}
  assert found != offsets(6, 3) and found != offsets(5, 4)
  whole = digit_batches(digits, 16, 3, shift=most)
  fifth = [next(whole) for _ in range(6)][5]
  halves = [next(digit_batches(digits, 16, 3, 5, i, 2, shift=most)) for i in range(2)]
  for name, rows in fifth.items():
    np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), rows)


def _offset(before, after, most):
  """By how many rows and columns a picture was moved."""
  steps = [(y, x) for y in range(-most, most + 1) for x in range(-most, most + 1)]
  return next(step for step in steps if np.array_equal(np.roll(before, step, axis=(0, 1)), after))


def test_borders_repeat_where_a_picture_is_moved_away():
  ramp = np.arange(12, dtype=np.uint8).reshape(1, 1, 3, 4, 1)
  got = moved(ramp, np.array([[1, -1]]), 1)[0, 0, :, :, 0]
  np.testing.assert_array_equal(got, [[1, 2, 3, 3], [1, 2, 3, 3], [5, 6, 7, 7]])
