"""The moving parts of the synthetic talker: eyes that blink, brows, and a mouth with lips, teeth and tongue.

Each is drawn four times finer than the head and averaged down, so that its size in pixels follows the motion smoothly.
"""

from typing import Any

import cv2
import numpy as np

from nwt_jax.talker.canvas import Canvas, curve, ellipse, fill, line, mix, tint
from nwt_jax.talker.people import Person

FINE = 4  # how much finer than the head a moving part is drawn
GAP = 11.5  # units between the lips at opening 1, before the jaw's stretch
JAW_TOP, JAW_END, JAW_DROP = 8.0, 36.0, 5.0  # the face between these heights stretches by up to this much
STRETCH = JAW_DROP / (JAW_END - JAW_TOP)

_CAVITY = (44, 10, 22)
_TEETH, _LOWER_TEETH = (250, 246, 240), (226, 219, 214)
_TONGUE, _TONGUE_LIGHT = (138, 50, 82), (158, 74, 102)
_MOUTH_Y = 20.5
_MOUTH_BOX = (-15.0, 10.0, 15.0, 37.0)
_EYE_BOX = (-8.0, -8.0, 8.0, 6.0)
_LIDS = 16  # steps of a blink that are drawn ahead


def gap_of(opening: np.ndarray | np.floating | float) -> np.ndarray | np.floating | float:
  """Units between the lips as the frame shows them: the drawn gap, stretched with the jaw. opening 0..1, any shape."""
  return GAP * opening * (1 + STRETCH * opening)


def half_width_of(width: np.ndarray | np.floating | float) -> np.ndarray | np.floating | float:
  """Units from the middle of the mouth to its corner. width 0..1, any shape."""
  return 6.3 + 6.2 * width


class Mouth:
  """Draws mouths of one person at one scale (pixels per unit)."""

  def __init__(self, person: Person, scale: float):
    self.scale = scale
    self.origin = np.array(_MOUTH_BOX[:2])
    self.size = (round((_MOUTH_BOX[2] - _MOUTH_BOX[0]) * scale), round((_MOUTH_BOX[3] - _MOUTH_BOX[1]) * scale))
    lips = person.lips
    self.upper, self.lower = tint(lips, -0.13), tint(lips, 0.04)
    self.shine, self.seam = tint(lips, 0.4), tint(lips, -0.42)
    self.x = np.cos(np.linspace(np.pi, 0, 33))
    self.bulge = 1 - self.x**2

  def __call__(
    self, head: np.ndarray, opening: Any, width: Any, rounding: Any, teeth: Any, tongue: Any, tuck: Any
  ) -> None:
    """Draws a mouth on the head in place. All arguments 0..1."""
    x, bulge = self.x, self.bulge
    gap, half = GAP * opening, half_width_of(width)
    up, low = 0.24 * gap, 0.76 * gap
    corner = _MOUTH_Y - 0.9 * (1 - rounding) * x**2 * (0.6 + 0.6 * width)  # corners sit higher: a friendly mouth
    inner_top = corner - up * bulge ** (0.75 - 0.2 * rounding)
    inner_low = corner + low * bulge ** (0.62 - 0.12 * rounding) - 0.0
    thick_up = (2.3 - 0.35 * opening + 0.9 * rounding) * (1 - 0.18 * max(width - 0.5, 0))
    thick_low = (3.1 - 0.3 * opening + 0.9 * rounding) * (1 - 0.45 * tuck)
    bow = bulge**0.62 * (1 - 0.2 * np.exp(-((x / 0.16) ** 2))) + 0.1 * np.exp(-(((np.abs(x) - 0.3) / 0.16) ** 2))
    outer_top, outer_low = inner_top - thick_up * bow, inner_low + thick_low * bulge**0.55
    xs, wide = x * half, x * (half + 0.9)
    fine = self.scale * FINE
    shape = (self.size[1] * FINE, self.size[0] * FINE, 4)
    patch = np.zeros(shape, np.uint8)
    draw = lambda image, points, colour: fill(image, points, (*colour, 255), fine, self.origin, smooth=False)
    outline = lambda ax, a, bx, b: np.concatenate([np.stack([ax, a], 1), np.stack([bx, b], 1)[::-1]])
    seam = (inner_top + inner_low) / 2
    draw(patch, outline(wide, outer_low, xs, seam), self.lower)
    draw(patch, outline(wide, outer_top, xs, seam), self.upper)
    if rounding < 0.9:  # a soft light on the lower lip
      mid = slice(9, 24)
      light = inner_low[mid] + thick_low * 0.45
      draw(
        patch,
        outline(xs[mid] - 0.6, light - 0.42 * bulge[mid], xs[mid] - 0.6, light + 0.42 * bulge[mid]),
        mix(self.lower, self.shine, 0.6),
      )
    draw(patch, outline(xs, seam - 0.32 * bulge**0.3, xs, seam + 0.32 * bulge**0.3), self.seam)
    if gap > 0.02:
      inside = np.empty(shape, np.uint8)
      inside[:] = (*_CAVITY, 255)
      floor = _MOUTH_Y + low
      rise = min(1.6 + 0.30 * gap + 1.6 * tongue, 0.9 * gap)
      draw(inside, ellipse(0, floor + 1.2, half * 0.62, rise + 1.2), _TONGUE)  # ty: ignore[invalid-argument-type]
      draw(inside, ellipse(-0.6, floor + 0.9, half * 0.36, 0.7 * rise), _TONGUE_LIGHT)  # ty: ignore[invalid-argument-type]
      show = (1 - 0.75 * rounding) * (1 - tuck) + tuck
      top = min(gap * (0.3 + 0.26 * teeth) + 0.3, 3.0 + 1.2 * teeth) * show * (1 - tuck) + tuck * (gap + 0.3)
      draw(inside, outline(xs, inner_top - 1, xs * 0.98, inner_top + top * bulge**0.12), _TEETH)
      bottom = gap * 0.36 * teeth * show * (1 - tuck)
      if bottom > 0.1:
        draw(inside, outline(xs, inner_low + 1, xs * 0.9, inner_low - bottom * bulge**0.12), _LOWER_TEETH)
      hole = np.zeros(shape[:2], np.uint8)
      fill(hole, outline(xs, inner_top, xs, inner_low), 255, fine, self.origin, smooth=False)
      cv2.copyTo(inside, hole, patch)
    _lay(head, cv2.resize(patch, self.size, interpolation=cv2.INTER_AREA), self.origin, self.scale)


class Eyes:
  """Draws eyes and brows of one person at one scale; the lids' positions are drawn ahead."""

  def __init__(self, person: Person, scale: float):
    self.scale = scale
    self.lids = [self._eye(person, k / _LIDS, scale) for k in range(_LIDS + 1)]
    grey = person.hair_style == "short" and min(person.hair) > 120
    self.brow = tint(person.hair, -0.35 if grey else -0.1)
    thick = 2.7 if person.voices[0].endswith("m3") else 2.0
    self.arch = line(curve([(4.6, 0.6), (8, -1.3), (12, -1.5), (17.2, 1.2)], 8, closed=False), thick)

  @staticmethod
  def _eye(person, shut, scale):
    """The left and the right eye with the lids `shut` 0..1, uint8 RGBA."""
    pictures = []
    for side in (-1, 1):
      canvas = Canvas(*_EYE_BOX, scale * FINE)
      x = np.linspace(-1, 1, 33)
      outer = side * x  # +1 at the outer corner
      arc = (1 - x**2) ** 0.7
      tilt = -0.7 * outer
      low = tilt * 0.4 + 2.6 * (1 - x**2) ** 0.9 * (1 - 0.25 * shut)
      open_top = tilt - 4.0 * arc
      top = open_top + (low - open_top) * shut
      xs = 5.9 * x
      skin = tint(person.skin, -0.1)
      lid = np.concatenate(
        [np.stack([xs * 1.04, open_top - 0.9 * arc], 1), np.stack([xs * 1.04, low + 0.3 * arc], 1)[::-1]]
      )
      canvas.blob(lid, skin, 0.85, blur=0.3)
      if shut < 0.97:
        hole = canvas.mask(np.concatenate([np.stack([xs, top], 1), np.stack([xs, low], 1)[::-1]]))
        canvas.paint(hole, (250, 246, 240))
        canvas.blob(ellipse(0, -3.4, 6.5, 2.2), (176, 164, 170), 0.6, blur=0.7, clip=hole)
        canvas.blob(ellipse(-side * 0.2, -0.5, 3.35, 3.5), tint(person.eyes, -0.45), clip=hole)
        canvas.blob(ellipse(-side * 0.2, -0.4, 2.8, 2.9), person.eyes, clip=hole)
        canvas.blob(ellipse(-side * 0.2, 0.9, 1.9, 1.4), tint(person.eyes, 0.5), 0.7, blur=0.4, clip=hole)
        canvas.blob(ellipse(-side * 0.2, -0.5, 1.6), (24, 20, 26), clip=hole)
        canvas.blob(ellipse(-1.4 - side * 0.2, -1.9, 1.05), (255, 255, 255), clip=hole)
        canvas.blob(line(np.stack([xs, low], 1), 0.5), tint(person.skin, -0.45), 0.7)
      lash = np.stack([xs * 1.05, top + 0.1], 1)
      canvas.blob(line(lash, 1.25), (48, 34, 36))
      if person.pitch > 46 and person.voices[0].endswith("f1"):
        tip = 5.6 * side
        canvas.blob(
          line(
            [(tip, top[-1 if side > 0 else 0]), (tip + side * 1.1, top[0] - 0.6), (tip + side * 1.8, top[0] - 1.7)], 0.9
          ),
          (48, 34, 36),
        )
      canvas.blob(line(np.stack([xs, open_top - 1.5 * arc - 0.2], 1), 0.5), tint(person.skin, -0.4), 0.5 * (1 - shut))
      pictures.append(canvas.pixels(scale))
    return pictures

  def __call__(self, head: np.ndarray, blink: float, brow: float, origin: Any) -> None:
    """Draws eyes and brows on the head in place. blink, brow 0..1; origin of the head picture, units."""
    pair = self.lids[round(float(np.clip(blink, 0, 1)) * _LIDS)]
    for side, picture in zip((-1, 1), pair, strict=True):
      _lay(head, picture, np.array([side * 10.5 + _EYE_BOX[0], -3.2 + _EYE_BOX[1]]), self.scale)
      shape = self.arch * (side, 1) + (0, -12.0 - 2.2 * brow + 0.6 * blink)
      fill(head, shape, (*self.brow, 255), self.scale, origin)


def _lay(head, picture, origin, scale, box=(-36.0, -48.0)):
  """Lays an RGBA picture (colours multiplied by alpha) over the head at a place in units, in place."""
  x, y = round((origin[0] - box[0]) * scale), round((origin[1] - box[1]) * scale)
  part = head[y : y + picture.shape[0], x : x + picture.shape[1]]
  part[:] = blend(part, picture)


def blend(under: np.ndarray, over: np.ndarray) -> np.ndarray:
  """`over` (uint8 RGBA, colours multiplied by alpha) on top of `under` (uint8, 3 or 4 channels)."""
  rest = 255 - over[..., 3]
  rest = cv2.merge([rest] * under.shape[2])
  return cv2.add(cv2.multiply(under, rest, scale=1 / 255), over[..., : under.shape[2]])
