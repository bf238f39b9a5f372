"""Covers the graphics that a broadcast blends in beside the speaker with white rectangles (appendix D.6)."""

import cv2
import numpy as np

# PAPER: D.6, in pixels of the cropped picture before scaling. GAP: of which resolution, the paper does not say; its box
# (D.3) fits 1280 x 720.
BRIGHT = 185
MIN_AREA, MAX_AREA, MIN_HEIGHT = 4_000, 100_000, 80
LEFT_EDGE, LOW = 20, 550
PICTURE_HEIGHT = 720


def mask(frames: np.ndarray, picture_height: int = PICTURE_HEIGHT) -> np.ndarray:
  """Covers bright boxes that touch the left edge or lie low; each frame by itself, as in the paper.

  Args: frames: uint8 RGB [t, h, w, 3], cropped but not scaled. picture_height: height of the picture that they
    were cropped from, pixels; the paper's numbers scale with it.
  Returns: a copy, masked.
  Source: D.6 (a) to (e)."""
  frames = np.array(frames)
  scale = picture_height / PICTURE_HEIGHT
  for frame in frames:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    bright = cv2.threshold(grey, BRIGHT, 255, cv2.THRESH_BINARY)[1]
    for contour in cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
      x, y, width, height = cv2.boundingRect(contour)
      large = MIN_AREA < width * height / scale**2 < MAX_AREA and height / scale > MIN_HEIGHT
      if large and (x / scale <= LEFT_EDGE or y / scale > LOW):
        frame[y : y + height, x : x + width] = 255
  return frames
