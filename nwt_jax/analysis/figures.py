"""Figures of Memcodes: tiles of pictures, and the coloured plot of occupancy (Fig. 2-4)."""

import numpy as np
from einops import rearrange

# One colour a digit (RGB): ten hues that stay apart in print
COLOURS = np.array(
  [(230, 60, 60), (60, 130, 230), (70, 180, 75), (245, 150, 40), (145, 70, 190), (70, 210, 220), (235, 80, 190),
   (150, 110, 60), (190, 200, 50), (120, 120, 140)], np.float64,
)  # fmt: skip


def tiles(pictures: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
  """Lays pictures in rows of `columns`, with white lines between. Args: pictures: uint8 [n h w] or [n h w 3]."""
  padded = np.pad(pictures, ((0, -len(pictures) % columns), (0, gap), (0, gap)) + ((0, 0),) * (pictures.ndim - 3),
                  constant_values=255)  # fmt: skip
  return rearrange(padded, "(r c) h w ... -> (r h) (c w) ...", c=columns)


def occupancy_plot(counts: np.ndarray, cell: int = 8) -> np.ndarray:
  """Draws Fig. 2b: a cell for each pair of codes, in the mean colour of its digits, paler where it is rarer.

  Pairs that do not occur are white.

  Args: counts: [labels, head 0, head 1]; head 0 along x, head 1 along y, as in the paper. Returns: uint8 RGB.
  """
  counts = counts.swapaxes(1, 2)
  total = counts.sum(axis=0)
  mixed = np.einsum("lij,lc->ijc", counts, COLOURS[: len(counts)]) / np.maximum(total, 1)[..., None]
  strength = np.where(total > 0, 0.25 + 0.75 * np.log1p(total) / np.log1p(total.max()), 0.0)[..., None]
  cells = 255.0 * (1.0 - strength) + mixed * strength
  return np.kron(cells.round().astype(np.uint8), np.ones((cell, cell, 1), np.uint8))
