"""Finds the faces in a clip's pictures, and a shape that distinguishes one person from another (D.3, D.5)."""

import base64
from collections.abc import Sequence

import numpy as np

from nwt_jax.metrics import face


def find(pictures: np.ndarray) -> tuple[list[list[list[float]]], str]:
  """Finds faces.

  Args: pictures: uint8 RGB [n h w 3].
  Returns: for each picture its faces, the likeliest first, each as [x, y, side] of its box, in parts of the picture's
    height; and the common shape of the likeliest faces (face.firm_shape) as text, "" if there are none.
  """
  seen = [face.see(picture) for picture in pictures]
  height = pictures.shape[1]
  heads = [[[round(float(v) / height, 5) for v in (*f.middle, f.side)] for f in found] for found, _ in seen]
  meshes = [mesh for _, mesh in seen if mesh is not None]
  shape = face.firm_shape(meshes).astype(np.float16) if meshes else np.zeros(0, np.float16)
  return heads, base64.b64encode(shape.tobytes()).decode()


def shape_of(text: str) -> np.ndarray | None:
  """Reads the shape that `find` wrote as text: float64 [p 3], or None."""
  values = np.frombuffer(base64.b64decode(text), np.float16)
  return values.reshape(-1, 3).astype(np.float64) if len(values) else None


def flags(counts: Sequence[int]) -> list[str]:
  """Returns the flags that follow from the numbers of faces in the pictures of a clip."""
  if sum(not count for count in counts) * 2 >= len(counts):
    return ["no_face"]
  return ["several_faces"] if sum(count > 1 for count in counts) >= 2 else []
