"""The still parts of the synthetic talker: shoulders, neck and the hair behind, and a head without eyes and mouth.

Coordinates are head units: (0, 0) between the eyes, x to the frame's right, y down, the chin at y = 36.
"""

import numpy as np

from nwt_jax.talker.canvas import Canvas, box, curve, ellipse, glow, line, mix, tint
from nwt_jax.talker.clothes import paint_clothes
from nwt_jax.talker.people import Person

HEAD_BOX = (-36.0, -48.0, 36.0, 46.0)


def _both(half):
  """A closed outline from its right half, top to bottom."""
  half = np.asarray(half, np.float64)
  left = half[half[:, 0] > 0][::-1] * (-1, 1)  # a point on the middle line must not come twice: that would be a tip
  return curve(np.concatenate([half, left]))


def paint_body(canvas: Canvas, person: Person) -> None:
  """Paints what is behind and below the head: hair that falls behind, neck, shoulders and clothes."""
  hair, skin = person.hair, person.skin
  if person.hair_style == "long":
    canvas.blob(_both([(0, -40), (22, -32), (30, -8), (31, 20), (33, 44), (27, 62), (12, 56)]), tint(hair, -0.25))
    for x in (-27, -22, 22, 27):
      canvas.blob(line(curve([(x, 0), (x * 1.06, 30), (x * 0.98, 54)], closed=False), 3), tint(hair, 0.1), 0.35, blur=1)
  if person.hair_style == "bob":
    canvas.blob(_both([(0, -40), (23, -32), (30, -8), (31, 14), (28, 31), (14, 32)]), tint(hair, -0.2))
  if person.hair_style == "curly":
    for x, y, r in ((-24, 16, 9), (24, 16, 9), (-27, 2, 10), (27, 2, 10), (-22, 27, 7), (22, 27, 7)):
      canvas.blob(ellipse(x, y, r), tint(hair, -0.2))
  # The neck, and the shadow of the chin on it.
  canvas.blob(
    curve([(-10.5, 20), (10.5, 20), (10.5, 38), (13, 46), (24, 54), (0, 66), (-24, 54), (-13, 46), (-10.5, 38)]), skin
  )
  neck = canvas.mask(
    curve([(-10.5, 20), (10.5, 20), (10.5, 38), (13, 46), (24, 54), (0, 66), (-24, 54), (-13, 46), (-10.5, 38)])
  )
  canvas.blob(ellipse(1.5, 32, 17, 11), tint(skin, -0.27), 0.9, blur=1.6, clip=neck)
  canvas.blob(curve([(6, 20), (12, 20), (15, 50), (9, 46)]), tint(skin, -0.25), 0.5, blur=1.5, clip=neck)
  paint_clothes(canvas, person)


def face_outline(person: Person) -> np.ndarray:
  """The outline of the face without ears."""
  j = person.jaw
  return _both(
    [(0, -36), (15, -31), (22.6, -17), (23.8, -3), (22.6 * j**0.5, 12), (18.4 * j, 25), (10.4 * j, 33.6), (3, 36.2)]
  )


def paint_head(canvas: Canvas, person: Person) -> None:
  """Paints ears, face, nose and the hair in front; the face has no eyes, brows or mouth yet."""
  skin, hair = person.skin, person.hair
  dark, light = tint(skin, -0.2), glow(skin)
  warm = mix(skin, (214, 92, 72), 0.5)
  if person.hair_style == "bun":
    canvas.blob(ellipse(0, -41, 9.5, 6.8), tint(hair, -0.1))
    canvas.blob(ellipse(-3, -43.5, 4.5, 2.2, -20), tint(hair, 0.35), 0.6, blur=0.9)
  for side in (-1, 1):
    if person.hair_style not in ("long", "bob", "curly"):
      canvas.blob(ellipse(side * 23.8, 0.5, 4.2, 6.6, side * 8), mix(skin, dark, 0.3 if side < 0 else 0.6))
      canvas.blob(ellipse(side * 24.2, 0.8, 2.1, 4, side * 8), mix(warm, dark, 0.5), 0.7, blur=0.5)
  outline = face_outline(person)
  canvas.blob(outline, skin)
  face = canvas.mask(outline)
  # Light from the upper left: a bright forehead and cheek, a soft shadow down the right side and under the brow.
  canvas.blob(
    curve([(13, -40), (40, -40), (40, 50), (-4, 50), (9, 34), (19, 20), (20, -8)]), dark, 0.62, blur=3.4, clip=face
  )
  canvas.blob(ellipse(-8, -20, 13, 8, -14), light, 0.6, blur=4, clip=face)
  canvas.blob(ellipse(-13, 8, 6, 5, -20), light, 0.42, blur=2.4, clip=face)
  canvas.blob(ellipse(0, 33, 6, 2.6), light, 0.35, blur=1.6, clip=face)
  for side in (-1, 1):
    canvas.blob(ellipse(side * 14.2, 11.5, 5.4, 3.8), warm, 0.34, blur=2.2, clip=face)
    canvas.blob(ellipse(side * 10.5, -3.2, 7.2, 5.4), mix(skin, dark, 0.7), 0.5, blur=1.6, clip=face)
  # The nose: a shadow down its right side, a lit ridge, a round tip and two soft nostrils.
  canvas.blob(curve([(2.2, -6), (3.4, 3), (5, 8), (1, 11), (1.6, 3)]), dark, 0.6, blur=0.9)
  canvas.blob(curve([(-1.2, -6), (0.6, -5), (1.2, 5), (-0.8, 6)]), light, 0.5, blur=0.9)
  canvas.blob(
    curve([(-4.6, 9.4), (-2.6, 10.9), (0, 11.6), (2.6, 10.9), (4.6, 9.4), (3, 12.2), (0, 12.6), (-3, 12.2)]),
    tint(skin, -0.3),
    0.75,
    blur=0.5,
  )
  canvas.blob(ellipse(-0.4, 8, 2.6, 2.1), light, 0.6, blur=0.8)
  for side in (-1, 1):
    canvas.blob(ellipse(side * 2.2, 10.9, 1.1, 0.65, side * -16), mix(tint(skin, -0.5), warm, 0.25), 0.9, blur=0.15)
  canvas.blob(ellipse(0, 14.4, 1, 2), dark, 0.3, blur=0.5)
  _hair(canvas, person, face)
  if person.earrings:
    for side in (-1, 1):
      canvas.blob(ellipse(side * 24.6, 10.6, 1.5, 1.9), person.earrings)
      canvas.blob(ellipse(side * 24.6 - 0.4, 10, 0.6), (255, 252, 240), 0.9)


def _hair(canvas, person, face):
  hair, style = person.hair, person.hair_style
  shine, deep = tint(hair, 0.34), tint(hair, -0.3)
  if style == "bald":  # a close crop along the sides
    for side in (-1, 1):
      canvas.blob(
        curve(
          [
            (side * x, y)
            for x, y in (
              (23.6, 9),
              (25.4, -2),
              (25.4, -14),
              (22.4, -24),
              (18.6, -22.6),
              (20.6, -12),
              (21.8, 0),
              (22.4, 9),
            )
          ]
        ),
        mix(hair, person.skin, 0.3),
      )
      canvas.blob(ellipse(side * 24.6, 1.5, 3.8, 6.2, side * 8), mix(person.skin, tint(person.skin, -0.2), 0.4))
      canvas.blob(ellipse(side * 25, 1.8, 1.9, 3.7, side * 8), tint(person.skin, -0.25), 0.6, blur=0.5)
    canvas.blob(ellipse(-7, -28, 9, 4, -18), (255, 246, 230), 0.32, blur=2, clip=face)
    return
  fringe = {
    "short": [(23.4, -6), (21.4, -17), (15, -23), (4, -25.5), (-8, -23), (-15, -19), (-21, -15), (-23.6, -6)],
    "quiff": [(23.4, -4), (21.6, -16), (17, -23), (8, -26.5), (-4, -27), (-14, -24), (-20.6, -16), (-23.4, -4)],
    "long": [(24, 14), (22.4, 0), (18.6, -14), (8, -23), (-7, -28), (-14, -20), (-20.6, -8), (-23.4, 14)],
    "bob": [
      (23.6, 12),
      (23, -6),
      (20.6, -16.4),
      (10, -18.6),
      (0, -19),
      (-10, -18.6),
      (-20.6, -16.4),
      (-23, -6),
      (-23.6, 12),
    ],
    "bun": [(23.8, -2), (20, -18), (10, -26), (0, -29), (-10, -26), (-20, -18), (-23.8, -2)],
    "curly": [(23.4, -2), (20.4, -17), (11, -22.6), (0, -24), (-11, -22.6), (-20.4, -17), (-23.4, -2)],
  }[style]
  crown = {
    "short": [(-25.4, -4), (-26.6, -20), (-21, -35), (-8, -42), (8, -43), (21, -36), (26.6, -20), (25.4, -4)],
    "quiff": [(-25, -3), (-26, -20), (-23, -36), (-13, -45), (3, -46.5), (17, -43), (25, -33), (26, -18), (25, -3)],
    "long": [(-28, 24), (-29.6, 2), (-28, -20), (-20, -36), (0, -43), (20, -36), (28, -20), (29.6, 2), (28, 24)],
    "bob": [(-27.6, 30), (-30.6, 10), (-29.4, -16), (-21, -35), (0, -42.5),
            (21, -35), (29.4, -16), (30.6, 10), (27.6, 30), (23.4, 28)],
    "bun": [(-25, -1), (-26, -18), (-20, -33), (0, -40), (20, -33), (26, -18), (25, -1)],
    "curly": [(-26, 0), (-27, -20), (-20, -35), (0, -41), (20, -35), (27, -20), (26, 0)],
  }[style]  # fmt: skip
  if style == "bob":
    fringe = [(22.6, 28), *fringe, (-22.6, 28)]
    crown = [(-23.4, 28), *crown]
  # The shadow that the fringe throws on the forehead.
  canvas.blob(curve(np.array(crown + fringe) + (0.8, 2.4)), tint(person.skin, -0.4), 0.55, blur=1.6, clip=face)
  canvas.blob(curve(crown + fringe), hair)
  area = canvas.mask(curve(crown + fringe))
  if style == "curly":
    for k in range(17):
      angle = np.radians(182 + k * 11)
      r = 25.5 + 1.6 * (k % 2)
      canvas.blob(ellipse(r * np.cos(angle), -17 + 0.92 * r * np.sin(angle), 6.4), mix(hair, shine, 0.12 * (k % 3)))
    for side in (-1, 1):
      for x, y, r in ((26.5, -8, 6.6), (27.5, 2, 6.2), (26, 11, 5.4)):
        canvas.blob(ellipse(side * x, y, r), mix(hair, shine, 0.1 * (r > 6)))
    for x, y in ((-16, -33), (-6, -38), (6, -37), (-22, -24), (14, -33)):
      canvas.blob(ellipse(x, y, 3.4, 2, -25), shine, 0.4, blur=0.9)
    return
  canvas.blob(curve([(14, -46), (40, -46), (40, 40), (20, 40), (22, -10)]), deep, 0.6, blur=3, clip=area)
  canvas.blob(ellipse(-10, -34, 14, 4.6, -22), shine, 0.62, blur=2.2, clip=area)
  if style in ("short", "quiff"):
    for x in (-12, -5, 3, 11):
      canvas.blob(
        line(curve([(x - 4, -25), (x, -33), (x + 7, -40)], closed=False), 1.4), shine, 0.4, blur=0.5, clip=area
      )
  if style in ("long", "bob"):
    for x in (-26.5, 26.5):
      canvas.blob(
        line(curve([(x * 0.86, -16), (x, 2), (x, 26)], closed=False), 2.2),
        shine if x < 0 else deep,
        0.45,
        blur=0.8,
        clip=area,
      )
  if style == "bun":
    for x in (-14, -7, 0, 7, 14):
      canvas.blob(
        line(curve([(x * 1.35, -22), (x, -31), (x * 0.4, -39)], closed=False), 1), deep, 0.35, blur=0.4, clip=area
      )


def paint_glasses(canvas: Canvas, person: Person) -> None:
  """Paints the glasses, which lie over the eyes."""
  if person.glasses is None:
    return
  for side in (-1, 1):
    ring = (
      ellipse(side * 10.6, -2, 8.4, 7.4)
      if person.name == "atelier"
      else box(side * 10.6 - 8.4, -8.6, side * 10.6 + 8.4, 5.2, 4.6)
    )
    hole = (ring - (side * 10.6, -1.8)) * 0.84 + (side * 10.6, -1.8)
    rim = canvas.mask(ring) * (1 - canvas.mask(hole))
    canvas.paint(rim, person.glasses)
    canvas.blob(
      line([(side * 10.6 - 4, 1), (side * 10.6, -3), (side * 10.6 + 3, -7)], 2), (255, 255, 255), 0.16, blur=0.3
    )
    canvas.blob(line([(side * 18.6, -4), (side * 22, -3.6), (side * 25, -2.6)], 1.6), person.glasses)
  canvas.blob(line(curve([(-3.4, -3), (0, -4.4), (3.4, -3)], closed=False), 1.8), person.glasses)
