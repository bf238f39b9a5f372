"""The clothes of the synthetic talker: shoulders in six cuts, their collars, folds and shadows."""

import numpy as np

from nwt_jax.talker.canvas import Canvas, curve, ellipse, line, tint
from nwt_jax.talker.people import Person


def paint_clothes(canvas: Canvas, person: Person) -> None:
  """Paints shoulders and collar; coordinates are head units, see body.py."""
  cloth = person.cloth
  trim, style = person.trim, person.cloth_style
  throat = {"vee": 60, "turtle": 42, "crew": 50, "hood": 51, "shirt": 55, "jacket": 57}[style]
  shoulders = [
    (-12.5, 45),
    (-24, 50.5),
    (-40, 57),
    (-49, 70),
    (-53, 110),
    (53, 110),
    (49, 70),
    (40, 57),
    (24, 50.5),
    (12.5, 45),
  ]
  dip = [(9, throat - 2.5), (0, throat), (-9, throat - 2.5)]
  if style == "vee":
    dip = [(6, 53), (0, 63), (-6, 53)]
  if style == "turtle":
    dip = [(8, 45), (0, 46), (-8, 45)]
  outline = curve(shoulders + dip, 8)
  canvas.blob(outline + (0, 1), tint(cloth, -0.5), 0.25, blur=2)
  canvas.blob(outline, cloth)
  body = canvas.mask(outline)
  canvas.blob(ellipse(-26, 60, 18, 9, -24), tint(cloth, 0.35), 0.5, blur=4, clip=body)
  canvas.blob(curve([(18, 50), (60, 50), (60, 110), (22, 110), (34, 80)]), tint(cloth, -0.35), 0.45, blur=6, clip=body)
  canvas.blob(ellipse(2, 50, 22, 9), tint(cloth, -0.4), 0.4, blur=3.5, clip=body)
  for x in (-33, 33):  # where the arms fold
    canvas.blob(
      line(curve([(x, 110), (x * 0.98, 84), (x * 1.08, 72)], closed=False), 1.6),
      tint(cloth, -0.4),
      0.5,
      blur=0.7,
      clip=body,
    )
  if style == "turtle":
    collar = curve([(-12, 36.5), (0, 39.5), (12, 36.5), (13.5, 47), (0, 51), (-13.5, 47)])
    canvas.blob(collar, cloth)
    collar = canvas.mask(collar)
    canvas.blob(ellipse(2, 37, 14, 5), tint(cloth, -0.5), 0.55, blur=1.6, clip=collar)
    canvas.blob(line(curve([(-13, 46), (0, 50), (13, 46)], closed=False), 1.2), tint(cloth, -0.4), 0.6, blur=0.4)
  elif style == "crew":
    canvas.blob(line(curve([(-13.5, 45.5), (-8, 50), (0, 51.6), (8, 50), (13.5, 45.5)], closed=False), 3.4), trim)
  elif style == "vee":
    canvas.blob(line(curve([(-13, 45.5), (-6.5, 54), (0, 63), (6.5, 54), (13, 45.5)], closed=False), 3), trim)
  elif style == "hood":
    for side in (-1, 1):
      canvas.blob(
        curve([(side * x, y) for x, y in ((11, 41), (19, 41), (29, 50), (22, 57), (8, 58), (2, 60), (8, 51))]),
        tint(cloth, 0.14),
      )
      canvas.blob(line([(side * 6, 58), (side * 7, 66), (side * 6.5, 74)], 1.5), tint(trim, 0.6))
    canvas.blob(
      line(curve([(-14, 44), (-9, 53), (0, 58), (9, 53), (14, 44)], closed=False), 2.4),
      tint(cloth, -0.4),
      0.7,
      blur=0.6,
    )
  else:
    if style == "jacket":
      canvas.blob([(-10, 46), (0, 58), (10, 46), (13, 110), (-13, 110)], cloth)
      tie = (176, 84, 70)
      canvas.blob([(-2.6, 57), (2.6, 57), (4, 80), (5.5, 110), (-5.5, 110), (-4, 80)], tie)
      canvas.blob([(-3.2, 55.5), (3.2, 55.5), (2, 61), (-2, 61)], tint(tie, -0.15))
      for side in (-1, 1):
        flap = np.array([(13, 44), (26, 51), (44, 58), (50, 70), (54, 112), (8, 112), (13, 88), (19, 62)]) * (side, 1)
        canvas.blob(flap, trim)
        canvas.blob(
          np.array([(13, 46), (20, 50), (25, 64), (20, 68), (13, 92), (16, 66)]) * (side, 1), tint(trim, 0.16)
        )
      canvas.blob(ellipse(-28, 62, 14, 8, -24), tint(trim, 0.35), 0.5, blur=4, clip=body)
      canvas.blob(curve([(26, 60), (60, 60), (60, 110), (30, 110)]), tint(trim, -0.4), 0.5, blur=5, clip=body)
    for side in (-1, 1):
      shadow = np.array([(11.5, 41.5), (14.5, 45), (15.5, 56), (8, 60), (0.6, 56.5), (8, 52)]) * (side, 1)
      canvas.blob(shadow + (0.4, 1.2),
                  tint(cloth, -0.5), 0.45, blur=1)  # fmt: skip
      colour = trim if style == "shirt" else cloth
      canvas.blob(np.array([(11.5, 41), (14.5, 44), (15.5, 55), (8, 59), (0.6, 55.5), (8, 51)]) * (side, 1), colour)
    if style == "shirt":
      canvas.blob(line([(0, 57), (0, 84), (0, 112)], 1), tint(cloth, -0.4), 0.6, blur=0.4)
      for y in (64, 74):
        canvas.blob(ellipse(0, y, 1.1), tint(cloth, 0.6))
