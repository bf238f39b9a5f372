"""Makes docs/figures/talker.webp, README's animation: true talkers above generated ones, and their mouths over time.

  python scripts/talker_gif.py docs/figures/talker.webp

The clips are the first four of `nwt_jax.evaluate` that show four different people; no training set has their seed or
their sentences. The shipped MAR samples each generated clip from the sound, with the episode and the style of the true
clip. The traces show the true gap between the lips and the mouth tracker's on the generated frames, each scaled to its
range. Needs the extra [talker].
"""

import itertools
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from nwt_jax.api import NWT
from nwt_jax.evaluate import TEST_SEED
from nwt_jax.talker.clip import TalkerClip, make_clip
from nwt_jax.talker.lips import correlation, mouth_opening

COLUMNS, EVERY = 4, 2  # clips side by side; of the video's frames one in so many is shown
SCALE, GUTTER, GAP, TRACE, MARGIN = 3, 92, 8, 74, 12  # pixels, but for the first
FINE = 2  # text and lines are drawn this much larger and averaged down
QUALITY = 72
GROUND, INK, TRUE, GENERATED = (248, 246, 244), (60, 50, 44), (150, 140, 132), (36, 84, 214)  # BGR
LABELS = ("true", "generated", "mouth")


class Pair(NamedTuple):
  """A true clip [t h w 3], the one sampled from its sound, their mouths' openings [t], and the correlation of these."""

  true: np.ndarray
  generated: np.ndarray
  tracks: tuple[np.ndarray, np.ndarray]
  correlation: float | None


def shown(correlation: float | None) -> str:
  """A correlation in two digits; a mouth that does not move has none."""
  return "unknown" if correlation is None else f"{correlation:.2f}"


def main(path: str) -> None:
  """Samples the clips, and writes the animation."""
  model = NWT.from_checkpoint()
  pairs = [sample(model, clip, seed) for seed, clip in enumerate(first_people(model, COLUMNS))]
  length = min(len(pair.true) for pair in pairs)
  frames = [picture(pairs, t) for t in range(0, length, EVERY)]
  animation = cv2.Animation()
  animation.frames, animation.durations = frames, [round(1000 * EVERY / model.fps)] * len(frames)
  Path(path).parent.mkdir(parents=True, exist_ok=True)
  if not cv2.imwriteanimation(path, animation, [cv2.IMWRITE_WEBP_QUALITY, QUALITY]):
    sys.exit(f"{path} cannot be written; give a path that ends in .webp or .gif")
  found = ", ".join(shown(pair.correlation) for pair in pairs)
  size = Path(path).stat().st_size / 1e6
  print(f"{path}: {len(frames)} pictures, {size:.2f} MB; correlation of the mouths over whole clips: {found}")


def first_people(model: NWT, count: int) -> list[TalkerClip]:
  """The first clips of the evaluation's seed that show different people."""
  found: dict[str, TalkerClip] = {}
  indices = itertools.count()
  while len(found) < count:
    clip = make_clip(TEST_SEED, next(indices), model.height, model.width)
    found.setdefault(clip.episode, clip)
  return list(found.values())


def sample(model: NWT, clip: TalkerClip, seed: int) -> Pair:
  """What the model makes of the clip's sound, with the clip's episode and style."""
  job = model.generate(clip.audio, 24_000, seed=seed, episode=clip.episode, style_from=clip.frames)
  generated = np.concatenate([chunk.frames for chunk in job])[: len(clip.frames)]
  tracks = (np.asarray(clip.truth["opening"], float), mouth_opening(generated))
  return Pair(clip.frames, generated, tracks, correlation(*tracks))


def picture(pairs: list[Pair], t: int) -> np.ndarray:
  """One picture of the animation, uint8 BGR."""
  height, width = (SCALE * size for size in pairs[0].true.shape[1:3])
  rows = [MARGIN, MARGIN + height + GAP, MARGIN + 2 * (height + GAP)]
  lefts = [GUTTER + column * (width + GAP) for column in range(len(pairs))]
  shape = (rows[2] + TRACE + MARGIN, lefts[-1] + width + MARGIN)
  canvas = np.full((shape[0] * FINE, shape[1] * FINE, 3), GROUND, np.uint8)
  for label, row, tall in zip(LABELS, rows, (height, height, TRACE), strict=True):
    write(canvas, label, MARGIN, row + tall / 2 + 4)
  for pair, left in zip(pairs, lefts, strict=True):
    trace(canvas, pair, left, rows[2], width, t)
  canvas = cv2.resize(canvas, shape[::-1], interpolation=cv2.INTER_AREA)
  for pair, left in zip(pairs, lefts, strict=True):
    for row, frames in zip(rows, (pair.true, pair.generated), strict=False):
      canvas[row : row + height, left : left + width] = cv2.resize(
        frames[t, ..., ::-1], (width, height), interpolation=cv2.INTER_CUBIC
      )
  return canvas


def trace(canvas: np.ndarray, pair: Pair, left: int, top: int, width: int, t: int) -> None:
  """Draws both openings over the whole clip, as far as frame t in full colour, and the correlation above them."""
  write(canvas, f"r = {shown(pair.correlation)}", left + width - 52, top + 11, 0.38)
  for track, colour in zip(pair.tracks, (TRUE, GENERATED), strict=True):
    low, span = track.min(), np.ptp(track)
    x = left + width * np.arange(len(track)) / (len(track) - 1)
    y = top + TRACE - (TRACE - 18) * (track - low) / span
    points = np.round(np.stack([x, y], 1) * FINE).astype(np.int32)
    pale = tuple((2 * np.array(GROUND) + np.array(colour)) // 3)
    cv2.polylines(canvas, [points], False, [int(part) for part in pale], FINE, cv2.LINE_AA)
    cv2.polylines(canvas, [points[: t + 1]], False, colour, FINE, cv2.LINE_AA)
    cv2.circle(canvas, [int(value) for value in points[t]], 4 * FINE, colour, -1, cv2.LINE_AA)


def write(canvas: np.ndarray, text: str, x: float, y: float, size: float = 0.46) -> None:
  """Draws text whose baseline begins at (x, y)."""
  corner = (round(x * FINE), round(y * FINE))
  cv2.putText(canvas, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size * FINE, INK, FINE, cv2.LINE_AA)


if __name__ == "__main__":
  main(*sys.argv[1:])
