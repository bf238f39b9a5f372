"""Pictures of a run, for eyes: a grid of frames, and clips side by side with their sound."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from einops import rearrange

from nwt_jax.io.image import write_png
from nwt_jax.io.video import write_video


def side_by_side(clips: Sequence[np.ndarray]) -> np.ndarray:
  """Clips uint8 [t h w 3] in one row, as long as the shortest."""
  length = min(len(clip) for clip in clips)
  return np.concatenate([clip[:length] for clip in clips], axis=2)


def write_grid(path: Path, rows: Sequence[np.ndarray], columns: int = 8) -> None:
  """A PNG with one clip a row: `columns` frames spread evenly over it."""
  strips = []
  for clip in rows:
    picks = clip[np.linspace(0, len(clip) - 1, columns).round().astype(int)]
    strips.append(rearrange(picks, "t h w c -> h (t w) c"))
  write_png(path, np.concatenate(strips, axis=0))


def write_pairs(
  path: Path, pairs: Sequence[tuple[np.ndarray, np.ndarray]], audios: Sequence[np.ndarray], fps: int
) -> None:
  """An MP4 of the pairs one after another, each with its sound (24 kHz)."""
  frames = np.concatenate([side_by_side(pair) for pair in pairs])
  sounds = []
  for pair, audio in zip(pairs, audios, strict=True):
    samples = round(min(len(clip) for clip in pair) * 24_000 / fps)
    sounds.append(np.pad(audio[:samples], (0, max(samples - len(audio), 0))))
  path.parent.mkdir(parents=True, exist_ok=True)
  write_video(path, frames, fps, np.concatenate(sounds))
