"""Advises on the variant of the configs for a size of frames; the user decides."""

import os
from typing import NamedTuple


class Variant(NamedTuple):
  """A variant that configs/dvae_lwt.py, tokenize.py, mar.py and far.py share.

  name: the configs' argument. pixels: side of the square of a Memcode. grid: rows and columns of Memcodes in a frame.
  most: largest side of the grid that its priors can draw. heads, codes: heads of a Memcode, codes of a head.
  """

  name: str
  pixels: int
  grid: tuple[int, int]
  most: int
  heads: int
  codes: int

  @property
  def suffix(self) -> str:
    return f":{self.name}" if self.name else ""

  @property
  def frames(self) -> tuple[int, int]:
    """Height and width of the frames that the variant is made for."""
    return self.grid[0] * self.pixels, self.grid[1] * self.pixels


# tests/train/test_sizes.py holds them to the configs; the first that fits is advised, tiny for its own size alone.
DEMO = Variant("demo", 8, (8, 7), 8, 8, 8)
PAPER = Variant("", 16, (16, 14), 16, 8, 8)
TINY = Variant("tiny", 8, (4, 3), 4, 2, 4)
OTHERS = (
  "prepare with --height=256 --width=224 (the configs as they are) or --height=64 --width=56 (:demo); multiples of 16 "
  "up to 256 and of 8 up to 64 go, too"
)


def variant_for(height: int, width: int) -> Variant | None:
  """Returns the variant for frames of this size, or None if there is none."""
  for variant in (DEMO, PAPER, TINY):
    if variant.frames == (height, width):
      return variant
  for variant in (DEMO, PAPER):
    (rows, above), (columns, beside) = divmod(height, variant.pixels), divmod(width, variant.pixels)
    if not above and not beside and max(rows, columns) <= variant.most:
      return variant
  return None


def next_steps(path: str | os.PathLike, height: int, width: int) -> list[str]:
  """Returns the next steps with prepared frames: the first command, and the flags that the priors will need."""
  variant = variant_for(height, width)
  if variant is None:
    return [f"next: no config is for frames of {height} x {width}; {OTHERS}"]
  lines = [
    f"next: python -m nwt_jax.main --config=configs/dvae_lwt.py{variant.suffix} --config.data.path={path} --workdir=DIR"
  ]
  grid = height // variant.pixels, width // variant.pixels
  if grid != variant.grid:
    lines.append(f"      then, for mar.py{variant.suffix} or far.py{variant.suffix}: {_options(variant, grid)}")
  return lines


def hint_for_frames(height: int, width: int) -> str:
  """Returns advice for frames that a dVAE's config does not fit."""
  variant = variant_for(height, width)
  return f"use --config=configs/dvae_lwt.py{variant.suffix} as it is" if variant else OTHERS


def hint_for_tokens(family: str, height: int, width: int, grid: tuple[int, int], heads: int, codes: int) -> str:
  """Returns advice for tokens that a prior's config does not fit.

  Args: family: mar or far. height, width: size of the frames. grid, heads, codes: those of the tokens.
  """
  wanted = variant_for(height, width)
  for variant in (wanted, DEMO, PAPER):
    if variant and max(grid) <= variant.most:
      options = _options(variant, grid, heads, codes) or "as it is"
      return f"use --config=configs/{family}.py{variant.suffix} {options}"
  if wanted is None:
    return f"no prior draws so many; {OTHERS}"
  return f"no prior draws so many: train the dVAE with --config=configs/dvae_lwt.py{wanted.suffix}, and tokenize again"


def _options(variant, grid, heads=None, codes=None):
  """Returns the flags for the values that differ from the variant's."""
  options = [f"--config.model.grid='({grid[0]},{grid[1]})'"] if tuple(grid) != variant.grid else []
  options += [f"--config.model.num_heads={heads}"] if heads not in (None, variant.heads) else []
  options += [f"--config.model.num_codes={codes}"] if codes not in (None, variant.codes) else []
  return " ".join(options)
