"""The rooms of the synthetic talker: eight soft backgrounds, and the panel that may hang beside the head.

Everything is large and low in contrast: the picture is about the person, and a codec with few places must keep it.
"""

import numpy as np

from nwt_jax.talker.canvas import Canvas, box, curve, ellipse, mix, tint


def paint_room(canvas: Canvas, room: str, shift: float, width: float) -> None:
  """Covers a canvas with a room, `shift` units to the right as the camera pans; width is the frame's, in units."""
  middle = width / 2 + shift
  _ROOMS[room](canvas, middle)
  # Light falls off towards the corners.
  edge = 1 - canvas.mask(ellipse(width / 2, 58, 0.62 * width, 78), blur=16)
  canvas.paint(edge, tint(_mean(canvas), -0.65), 0.35)


def paint_panel(canvas: Canvas, side: str, person: int, width: float) -> None:
  """Hangs a framed picture or graph on the left or right of the frame; each episode has its own."""
  if side == "none":
    return
  w, top, bottom = 27.0, 9.0, 44.0
  x = 3.0 if side == "left" else width - 3.0 - w
  canvas.blob(box(x + 0.6, top + 1.6, x + w + 0.6, bottom + 1.6, 2), (20, 20, 30), 0.4, blur=1.4)
  canvas.blob(box(x, top, x + w, bottom, 2), (248, 244, 234))
  paper = box(x + 1.8, top + 1.8, x + w - 1.8, bottom - 1.8, 1.2)
  canvas.blob(paper, _PAPERS[person % 4])
  inner = canvas.mask(paper)
  at = lambda points: np.asarray(points, np.float64) + (x, top)
  if person % 4 == 0:  # a landscape
    canvas.blob(ellipse(x + 19, top + 10, 3.6), (252, 226, 150), clip=inner)
    canvas.blob(curve(at([(0, 24), (8, 15), (15, 22), (30, 20), (30, 40), (0, 40)])), (104, 146, 150), clip=inner)
    canvas.blob(curve(at([(0, 30), (10, 26), (20, 29), (30, 24), (30, 40), (0, 40)])), (70, 112, 96), clip=inner)
  elif person % 4 == 1:  # bars
    for k, tall in enumerate((9, 14, 12, 20)):
      colour = ((226, 120, 86), (236, 176, 92), (92, 150, 160), (72, 106, 146))[k]
      canvas.blob(box(x + 4.6 + 4.7 * k, bottom - 5 - tall, x + 8.2 + 4.7 * k, bottom - 5, 0.8), colour)
  elif person % 4 == 2:  # a pie
    canvas.blob(ellipse(x + w / 2, top + 17.5, 9), (84, 132, 160))
    slices = ((-90, 40, (236, 150, 92)), (40, 110, (240, 208, 120)))
    for start, stop, colour in slices:
      angle = np.radians(np.linspace(start, stop, 20))
      arc = np.stack([x + w / 2 + 9 * np.cos(angle), top + 17.5 + 9 * np.sin(angle)], 1)
      canvas.blob(np.concatenate([[(x + w / 2, top + 17.5)], arc]), colour)
    canvas.blob(ellipse(x + w / 2, top + 17.5, 3.6), _PAPERS[2])
  else:  # a potted plant
    for tilt, reach in ((-38, 8), (0, 10), (38, 8)):
      dx = reach * 0.55 * np.sin(np.radians(tilt))
      canvas.blob(
        ellipse(x + w / 2 + dx * 1.3, top + 16 - 0.2 * reach, 2.6, reach * 0.75, tilt), (96, 150, 106), clip=inner
      )
    canvas.blob(box(x + 9, top + 21, x + w - 9, bottom - 5, 1.4), (214, 122, 84))
  canvas.blob(ellipse(x + 7, top + 5, 14, 5, -20), (255, 255, 255), 0.16, blur=2, clip=inner)


_PAPERS = ((176, 210, 222), (240, 232, 214), (232, 226, 216), (234, 224, 206))


def _mean(canvas):
  return canvas.rgb.mean((0, 1)) * 255


def _library(canvas, m):
  canvas.gradient((126, 92, 70), (96, 68, 56))
  books = ((156, 92, 74), (112, 122, 112), (168, 130, 84), (98, 96, 118), (146, 108, 92))
  for row, y in enumerate((-2, 27, 56, 85)):
    canvas.blob(box(-40, y + 24, 160, y + 28), (142, 104, 76), blur=0.8)
    for k in range(-6, 8):
      x = m + k * 13 + (row % 2) * 5
      tall = 18 + 3 * ((k * 7 + row * 3) % 3)
      canvas.blob(
        box(x, y + 25 - tall, x + 11, y + 24.5, 0.8), mix(books[(k * 3 + row) % 5], (118, 86, 68), 0.45), blur=1.1
      )
  canvas.blob(ellipse(m - 34, 22, 34, 40), (255, 214, 150), 0.28, blur=14)


def _harbour(canvas, m):
  canvas.gradient((172, 206, 226), (226, 226, 212))
  canvas.blob(ellipse(m + 34, 22, 9), (255, 240, 206), 0.9, blur=2)
  canvas.blob(ellipse(m - 30, 18, 20, 5), (246, 248, 248), 0.7, blur=3)
  canvas.blob(ellipse(m + 14, 34, 26, 4), (246, 248, 248), 0.6, blur=3)
  canvas.blob(
    curve([(m - 110, 66), (m - 60, 50), (m - 30, 57), (m + 20, 60), (m + 60, 52), (m + 110, 64), (m + 110, 90),
           (m - 110, 90)]),
    (132, 164, 176), blur=1,
  )  # fmt: skip
  canvas.blob(box(-60, 74, 180, 180), (92, 144, 166), blur=0.8)
  canvas.blob(box(-60, 90, 180, 180), (78, 126, 152), blur=6)
  canvas.blob([(m - 46, 74), (m - 38, 46), (m - 37, 74)], (250, 244, 232), blur=0.5)
  canvas.blob(curve([(m - 50, 75), (m - 32, 75), (m - 36, 80), (m - 47, 80)]), (176, 104, 84), blur=0.5)


def _garden(canvas, m):
  canvas.gradient((206, 226, 214), (166, 196, 146))
  for x, y, r, colour in (
    (-48, 60, 34, (128, 170, 118)), (46, 52, 32, (116, 162, 116)), (-10, 76, 40, (142, 182, 122)),
    (-64, 96, 34, (100, 146, 100)), (60, 98, 38, (94, 142, 98)),
  ):  # fmt: skip
    canvas.blob(ellipse(m + x, y, r), colour, blur=3)
    canvas.blob(ellipse(m + x - 0.3 * r, y - 0.35 * r, 0.5 * r), tint(colour, 0.3), 0.6, blur=5)
  for x, y in ((-44, 60), (-30, 84), (40, 70), (50, 44), (32, 92), (-52, 84)):
    canvas.blob(ellipse(m + x, y, 2.6), (240, 186, 172), blur=0.7)


def _kitchen(canvas, m):
  canvas.gradient((238, 228, 208), (222, 208, 188))
  for k in range(-8, 9):
    canvas.blob(box(m + 16 * k - 0.5, 50, m + 16 * k + 0.5, 140), (206, 192, 172), blur=0.4)
  for y in (50, 66, 82, 98):
    canvas.blob(box(-40, y - 0.5, 160, y + 0.5), (206, 192, 172), blur=0.4)
  canvas.blob(box(-40, 38, 160, 42, 1), (170, 126, 92), blur=0.5)
  canvas.blob(box(-40, 42, 160, 46), (120, 96, 80), 0.25, blur=1.5)
  for x, w, h, colour in ((-48, 11, 14, (118, 160, 158)), (-32, 8, 19, (226, 176, 112)), (34, 12, 12, (198, 120, 96)),
                          (50, 8, 20, (140, 164, 128))):  # fmt: skip
    canvas.blob(box(m + x - w / 2, 38 - h, m + x + w / 2, 38, 2.4), colour, blur=0.6)
    canvas.blob(box(m + x - w / 2 + 1, 38 - h + 2, m + x - w / 2 + 3, 35, 1), (255, 250, 236), 0.4, blur=0.8)


def _dusk(canvas, m):
  canvas.gradient((78, 74, 126), (226, 146, 116))
  for k, (x, w, top) in enumerate(
    ((-58, 20, 50), (-38, 17, 66), (-20, 20, 58), (2, 24, 72), (26, 18, 60), (46, 20, 46), (66, 20, 62))
  ):
    canvas.blob(box(m + x - w / 2, top, m + x + w / 2, 140, 0.6), (96 - 4 * (k % 3), 78, 118), blur=0.9)
  for x, y, r in ((-54, 62, 3.4), (-34, 80, 4.2), (44, 60, 4), (54, 78, 3), (36, 88, 4.4), (-50, 94, 3.6)):
    canvas.blob(ellipse(m + x, y, r), (255, 206, 140), 0.55, blur=0.7)
  canvas.blob(ellipse(m + 30, 18, 5.5), (250, 232, 206), 0.9, blur=0.7)


def _studio(canvas, m):
  canvas.gradient((52, 84, 108), (34, 54, 80))
  for k in range(5):
    canvas.blob(ellipse(m + 6, 62, 84 - 14 * k), (70 + 12 * k, 112 + 12 * k, 136 + 9 * k), 0.35, blur=1.2)
  canvas.blob(
    curve([(m - 90, 108), (m - 30, 96), (m + 40, 104), (m + 100, 90), (m + 100, 150), (m - 90, 150)]),
    (40, 62, 88),
    blur=1,
  )


def _atelier(canvas, m):
  canvas.gradient((232, 222, 214), (212, 198, 190))
  canvas.blob(box(m - 62, 10, m - 28, 58, 1), (188, 172, 160), 0.6, blur=2)
  canvas.blob(box(m - 62, 8, m - 30, 56, 1), (240, 232, 220))
  inside = canvas.mask(box(m - 60, 10, m - 32, 54))
  canvas.blob(ellipse(m - 50, 28, 12, 14), (226, 150, 116), 0.9, blur=1, clip=inside)
  canvas.blob(ellipse(m - 40, 42, 12, 10), (110, 152, 164), 0.9, blur=1, clip=inside)
  canvas.blob(box(m + 31, 22, m + 66, 72, 1), (188, 172, 160), 0.6, blur=2)
  canvas.blob(box(m + 30, 20, m + 66, 70, 1), (226, 204, 150))
  hills = curve([(m + 30, 60), (m + 44, 40), (m + 56, 52), (m + 68, 34), (m + 68, 70), (m + 30, 70)])
  canvas.blob(hills, (124, 140, 130),
              clip=canvas.mask(box(m + 32, 22, m + 64, 68)), blur=1)  # fmt: skip
  canvas.blob(box(-40, 92, 160, 140), (176, 150, 130), blur=1)


def _classroom(canvas, m):
  canvas.gradient((226, 214, 188), (206, 190, 162))
  canvas.blob(box(m - 70, 8, m + 70, 82, 2), (150, 112, 80))
  canvas.blob(box(m - 67, 11, m + 67, 79, 1), (70, 106, 96))
  canvas.blob(ellipse(m - 20, 40, 40, 20, -15), (112, 148, 136), 0.4, blur=9)
  for x, y, w in ((-54, 26, 22), (-54, 34, 16), (34, 52, 22), (34, 60, 14)):
    canvas.blob(box(m + x, y, m + x + w, y + 1.8, 0.9), (220, 228, 214), 0.5, blur=0.5)
  canvas.blob(ellipse(m + 46, 32, 9), (220, 228, 214), 0.5, blur=0.4)
  canvas.blob(ellipse(m + 46, 32, 7.6), (78, 114, 104), blur=0.4)
  canvas.blob(box(-40, 84, 160, 140), (190, 164, 130), blur=1)


_ROOMS = {
  "library": _library, "harbour": _harbour, "garden": _garden, "kitchen": _kitchen,
  "dusk": _dusk, "studio": _studio, "atelier": _atelier, "classroom": _classroom,
}  # fmt: skip
