"""PNG files."""

from pathlib import Path

import cv2
import numpy as np

from nwt_jax.io.place import writing


def write_png(path: Path, picture: np.ndarray) -> None:
  """Writes uint8 [h w] or RGB [h w 3]; makes the folder.

  Raises: OSError: the file cannot be written.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  with writing(path):
    if not cv2.imwrite(str(path), picture if picture.ndim == 2 else picture[..., ::-1]):
      raise OSError(f"cannot write {path}")
