"""Soft vector painting for the synthetic talker: anti-aliased smooth shapes with blur and clipping, on OpenCV.

Lengths are in units of 1/128 of the frame's height, so that every size shows the same picture.
"""

from collections.abc import Sequence

import cv2
import numpy as np

Points = Sequence | np.ndarray  # [n, 2], or one of them
Colour = Sequence | np.ndarray  # red, green, blue, 0 to 255
_FINE = 8  # fractional bits of polygon corners in OpenCV's fixed point


def curve(corners: Points, steps: int = 10, closed: bool = True) -> np.ndarray:
  """A Catmull-Rom spline through the corners: [n, 2] -> [n * steps, 2] (a little shorter where it is open)."""
  points = np.asarray(corners, np.float64)
  if closed:
    around = np.concatenate([points[-1:], points, points[:2]])
  else:
    around = np.concatenate([points[:1], points, points[-1:]])
  a, b, c, d = around[:-3, None], around[1:-2, None], around[2:-1, None], around[3:, None]
  s = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
  path = 0.5 * (2 * b + (c - a) * s + (2 * a - 5 * b + 4 * c - d) * s**2 + (3 * b - a - 3 * c + d) * s**3)
  path = np.concatenate(list(path))
  return path if closed else np.concatenate([path, points[-1:]])


def ellipse(x: float, y: float, rx: float, ry: float | None = None, tilt: float = 0.0) -> np.ndarray:
  """The outline of an ellipse: [48, 2]. tilt in degrees."""
  angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
  points = np.stack([rx * np.cos(angle), (rx if ry is None else ry) * np.sin(angle)], 1)
  c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
  return points @ np.array([[c, s], [-s, c]]) + (x, y)


def box(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> np.ndarray:
  """The outline of a rectangle with rounded corners: [n, 2]."""
  r = max(radius, 1e-3)
  turn = np.linspace(0, np.pi / 2, 8)
  corner = np.stack([np.cos(turn), np.sin(turn)], 1) * r
  parts = []
  for k, centre in enumerate([(x1 - r, y1 - r), (x0 + r, y1 - r), (x0 + r, y0 + r), (x1 - r, y0 + r)]):
    c, s = np.cos(k * np.pi / 2), np.sin(k * np.pi / 2)
    parts.append(corner @ np.array([[c, s], [-s, c]]) + centre)
  return np.concatenate(parts)


def line(points: Points, width: float) -> np.ndarray:
  """The outline of a stroke along the points, full in the middle and tapered at its ends: [2n, 2]."""
  points = np.asarray(points, np.float64)
  along = np.gradient(points, axis=0)
  normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.maximum(np.linalg.norm(along, axis=1), 1e-9)[:, None]
  taper = np.sqrt(np.maximum(np.sin(np.linspace(0.12, np.pi - 0.12, len(points))), 0))[:, None]
  return np.concatenate([points + normal * taper * width / 2, (points - normal * taper * width / 2)[::-1]])


def fill(
  image: np.ndarray, points: Points, colour: Colour | int, scale: float, origin: Points, smooth: bool = True
) -> None:
  """Fills a polygon in a uint8 image in place. points in units; a pixel is (points - origin) * scale."""
  pixels = (np.asarray(points) - origin) * scale - 0.5
  corners = np.round(pixels * (1 << _FINE)).astype(np.int32)
  cv2.fillPoly(image, [corners], colour, cv2.LINE_AA if smooth else cv2.LINE_8, _FINE)  # ty: ignore[no-matching-overload]


class Canvas:
  """A picture with transparency: rgb float32 [h w 3] multiplied by alpha [h w], both 0..1; colours come as 0..255."""

  def __init__(self, x0: float, y0: float, x1: float, y1: float, scale: float):
    self.origin, self.scale = np.array([x0, y0], np.float64), scale
    self.shape = (round((y1 - y0) * scale), round((x1 - x0) * scale))
    self.rgb = np.zeros((*self.shape, 3), np.float32)
    self.alpha = np.zeros(self.shape, np.float32)
    self.move = lambda points: points  # a transform for what follows, such as a leaning body

  def mask(self, points: Points, blur: float = 0.0) -> np.ndarray:
    """Returns each pixel's coverage by a closed outline, float32 [h w] 0..1; blur is a standard deviation in units."""
    return self._cover(self.move(np.asarray(points, np.float64)), blur, 0, 0, self.shape[1], self.shape[0])

  def paint(self, where: np.ndarray, colour: Colour, opacity: float = 1.0) -> None:
    """Lays a colour over the picture where the mask says."""
    cover = (where * opacity).astype(np.float32)
    self.rgb += cover[..., None] * (np.asarray(colour, np.float32) / 255 - self.rgb)
    self.alpha += cover * (1 - self.alpha)

  def blob(
    self, points: Points, colour: Colour, opacity: float = 1.0, blur: float = 0.0, clip: np.ndarray | None = None
  ) -> None:
    """Fills an outline, softly if blur > 0, only inside the mask `clip` if given. Works on its bounding box alone."""
    points = self.move(np.asarray(points, np.float64))
    margin = 3.5 * blur + 2 / self.scale
    low = np.floor((points.min(0) - margin - self.origin) * self.scale).astype(int)
    high = np.ceil((points.max(0) + margin - self.origin) * self.scale).astype(int)
    (x0, y0), (x1, y1) = np.maximum(low, 0), np.minimum(high, self.shape[::-1])
    if x0 >= x1 or y0 >= y1:
      return
    part = np.s_[y0:y1, x0:x1]
    where = self._cover(points, blur, x0, y0, x1, y1)
    cover = where * np.float32(opacity) if clip is None else where * clip[part] * np.float32(opacity)
    self.rgb[part] += cover[..., None] * (np.asarray(colour, np.float32) / 255 - self.rgb[part])
    self.alpha[part] += cover * (1 - self.alpha[part])

  def _cover(self, points, blur, x0, y0, x1, y1):
    """The mask of an outline in a rectangle of the picture; a wide blur uses a coarser grid, which looks the same."""
    coarse = 4 if blur * self.scale > 8 else 1
    # Shapes that leave the picture are blurred with what lies outside, so the mask covers their whole margin.
    pad = int(np.ceil(3.5 * blur * self.scale / coarse))
    image = np.zeros((-(-(y1 - y0) // coarse) + 2 * pad, -(-(x1 - x0) // coarse) + 2 * pad), np.uint8)
    scale = self.scale / coarse
    fill(image, points, 255, scale, self.origin + np.array([x0, y0]) / self.scale - pad / scale)
    where = image.astype(np.float32) / 255
    if blur > 0:
      where = cv2.GaussianBlur(where, (0, 0), blur * scale)[pad : where.shape[0] - pad, pad : where.shape[1] - pad]
    if coarse > 1:
      where = cv2.resize(where, None, fx=coarse, fy=coarse, interpolation=cv2.INTER_LINEAR)[: y1 - y0, : x1 - x0]
    return where

  def gradient(self, top: Colour, bottom: Colour) -> None:
    """Covers the picture with a vertical gradient between two colours."""
    ramp = np.linspace(0, 1, self.shape[0], dtype=np.float32)[:, None, None]
    colour = (1 - ramp) * np.asarray(top, np.float32) + ramp * np.asarray(bottom, np.float32)
    self.rgb[:] = np.broadcast_to(colour / 255, self.rgb.shape)
    self.alpha[:] = 1

  def over(self, other: "Canvas") -> None:
    """Lays another picture of the same size over this one."""
    self.rgb = other.rgb + self.rgb * (1 - other.alpha[..., None])
    self.alpha = other.alpha + self.alpha * (1 - other.alpha)

  def pixels(self, scale: float) -> np.ndarray:
    """The picture at another scale as uint8 RGBA [h w 4], colours multiplied by alpha."""
    image = np.dstack([self.rgb, self.alpha])
    height, width = round(self.shape[0] * scale / self.scale), round(self.shape[1] * scale / self.scale)
    if (height, width) != self.shape:
      image = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if scale < self.scale else cv2.INTER_LINEAR
      )
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def tint(colour: Colour, amount: float) -> tuple[float, ...]:
  """A colour made lighter (amount > 0, towards warm white) or darker (amount < 0, keeping its hue)."""
  colour = np.asarray(colour, np.float64)
  if amount >= 0:
    return tuple(colour + amount * (np.array([255, 246, 228]) - colour))
  return tuple(colour * (1 + amount))


def glow(skin: Colour) -> tuple[float, ...]:
  """Lit skin: brighter, and as much redder than blue as before (the mouth tracker counts on that)."""
  return tuple(np.minimum(np.asarray(skin, np.float64) + (22, 27, 22), 255))


def mix(a: Colour, b: Colour, amount: float) -> tuple[float, ...]:
  """A colour between a and b."""
  return tuple((1 - amount) * np.asarray(a, np.float64) + amount * np.asarray(b, np.float64))
