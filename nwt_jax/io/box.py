"""The part of a picture to keep, as text and in pixels (appendix D.3)."""

import re
from typing import NamedTuple

from nwt_jax.errors import InputError

SAME_SHAPE = 0.02  # how far width over height may differ: codecs round sizes, 1080 lines to 1088


class Box(NamedTuple):
  """A part of a picture, in pixels of the picture as shown."""

  width: int
  height: int
  left: int
  top: int

  @classmethod
  def parse(cls, text: str) -> "Box | BoxOf":
    """Reads "WIDTHxHEIGHT+LEFT+TOP", or, with "@WIDTHxHEIGHT" at its end, a BoxOf a picture of that size.

    Raises: InputError: another form, or no area."""
    found = re.fullmatch(r"(\d+)x(\d+)\+(\d+)\+(\d+)(?:@(\d+)x(\d+))?", text)
    numbers = [int(number) for number in found.groups() if number] if found else [0]
    if not all(numbers[:2]) or not all(numbers[4:]):
      raise InputError(f"box {text!r} is not understood; write WIDTHxHEIGHT+LEFT+TOP in pixels, as 140x160+32+76")
    box = cls(*numbers[:4])
    return BoxOf(box, (numbers[4], numbers[5])) if numbers[4:] else box

  def __str__(self):
    return f"{self.width}x{self.height}+{self.left}+{self.top}"

  def within(self, width: int, height: int) -> bool:
    """Returns whether the box lies inside a picture of this size."""
    return self.left + self.width <= width and self.top + self.height <= height

  def on(self, width: int, height: int) -> "Box":
    """Itself, for a picture as shown of this size. Raises: InputError: it reaches outside."""
    if not self.within(width, height):
      raise InputError(f"the box {self} reaches outside its {width} x {height} pixels; give another")
    return self


class BoxOf(NamedTuple):
  """A part of pictures of any size, given in pixels of a `picture` of one: (width, height)."""

  box: Box
  picture: tuple[int, int]

  def __str__(self):
    return "{}@{}x{}".format(self.box, *self.picture)

  def on(self, width: int, height: int) -> Box:
    """The same part of a picture as shown of this size. Raises: InputError: the picture is of another shape."""
    across, down = width / self.picture[0], height / self.picture[1]
    if abs(across / down - 1) > SAME_SHAPE:
      raise InputError(f"the box {self} is of another shape of picture than {width} x {height}; give one of its own")
    left, top = round(self.box.left * across), round(self.box.top * down)
    right, bottom = (self.box.left + self.box.width) * across, (self.box.top + self.box.height) * down
    return Box(max(1, round(right) - left), max(1, round(bottom) - top), left, top).on(width, height)
