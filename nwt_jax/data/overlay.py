"""White rectangles over what a broadcast blends in beside the speaker (appendix D.6)."""

import cv2
import numpy as np

# PAPER: D.6, in pixels of the cropped picture before scaling
BRIGHT = 185
MIN_AREA, MAX_AREA, MIN_HEIGHT = 4_000, 100_000, 80
LEFT_EDGE, LOW = 20, 550


def mask(frames: np.ndarray) -> np.ndarray:
  """Covers bright boxes that touch the left edge or lie low; each frame by itself, as in the paper.

  Args: frames: uint8 RGB [t, h, w, 3], cropped but not scaled. Returns: a copy, masked.
  Source: D.6 (a) to (e)."""
  frames = np.array(frames)
  for frame in frames:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    bright = cv2.threshold(grey, BRIGHT, 255, cv2.THRESH_BINARY)[1]
    for contour in cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
      x, y, width, height = cv2.boundingRect(contour)
      if MIN_AREA < width * height < MAX_AREA and height > MIN_HEIGHT and (x <= LEFT_EDGE or y > LOW):
        frame[y : y + height, x : x + width] = 255
  return frames
