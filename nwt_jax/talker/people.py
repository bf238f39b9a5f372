"""Who the synthetic talker can be: one person, clothes, room and camera per episode.

Two rules keep the mouth measurable from pixels (talker/lips.py): skin, lips and whatever may come near the mouth have
red well above blue; nothing in a mouth does.
"""

from typing import NamedTuple


class Person(NamedTuple):
  """One episode's looks. Colours are RGB 0..255; lift and zoom belong to its camera."""

  name: str
  skin: tuple
  lips: tuple
  hair: tuple
  hair_style: str  # long, bob, short, curly, bun, bald, wavy, quiff
  eyes: tuple
  cloth: tuple
  cloth_style: str  # crew, shirt, jacket, hood, turtle, vee
  trim: tuple
  room: str
  glasses: tuple | None
  earrings: tuple | None
  jaw: float  # width of the lower face, about 1
  zoom: float
  lift: float  # units that the camera looks lower by
  voices: tuple[str, ...]
  pitch: int  # the middle of the range


_LOW = ("en-us+m3", "en-us+m7", "en-gb-x-rp+m1", "en-gb-scotland+m4", "en-us+m6")
_HIGH = ("en-us+f1", "en-us+f4", "en-gb-x-rp+f4", "en-gb-scotland+f1", "en-us+Annie")

PEOPLE = (
  Person(
    "library", (236, 190, 158), (205, 104, 98), (92, 52, 34), "long", (88, 122, 96), (46, 108, 112), "turtle",
    (38, 92, 96), "library", None, (226, 186, 96), 0.98, 1.0, 0.0, _HIGH, 55,
  ),
  Person(
    "harbour", (222, 170, 132), (190, 98, 86), (52, 46, 50), "short", (84, 100, 120), (238, 236, 228), "jacket",
    (44, 66, 104), "harbour", None, None, 1.05, 1.02, -1.0, _LOW, 45,
  ),
  Person(
    "garden", (152, 102, 72), (178, 90, 86), (44, 34, 36), "curly", (74, 48, 32), (238, 184, 72), "crew",
    (214, 152, 48), "garden", None, (244, 214, 130), 0.99, 0.98, 0.5, _HIGH, 48,
  ),
  Person(
    "kitchen", (242, 204, 176), (212, 122, 112), (196, 104, 48), "bun", (70, 116, 140), (190, 86, 74), "vee",
    (250, 238, 220), "kitchen", None, None, 0.96, 1.0, 0.0, _HIGH, 62,
  ),
  Person(
    "dusk", (178, 124, 88), (188, 98, 90), (36, 32, 42), "quiff", (66, 44, 34), (92, 74, 128), "hood",
    (122, 102, 164), "dusk", None, None, 1.03, 1.0, 0.0, _LOW, 52,
  ),
  Person(
    "studio", (240, 198, 166), (206, 112, 102), (176, 172, 176), "short", (88, 108, 128), (70, 84, 110), "shirt",
    (232, 228, 222), "studio", (58, 54, 66), None, 1.02, 1.03, 0.5, _LOW, 38,
  ),
  Person(
    "atelier", (230, 182, 140), (202, 96, 92), (34, 32, 44), "bob", (72, 52, 42), (200, 110, 130), "crew",
    (170, 84, 106), "atelier", (150, 72, 62), None, 0.97, 0.99, 0.0, _HIGH, 58,
  ),
  Person(
    "classroom", (162, 108, 78), (180, 94, 86), (60, 48, 44), "bald", (70, 48, 36), (126, 148, 92), "shirt",
    (244, 238, 222), "classroom", (60, 48, 42), None, 1.04, 1.0, -0.5, _LOW, 44,
  ),
)  # fmt: skip

EPISODES: tuple[str, ...] = tuple(person.name for person in PEOPLE)
