"""The data of stage 2, from a token data set: batches, held-out windows, windows for styles, and rates of change."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from nwt_jax.data.batches import long_enough, token_batches
from nwt_jax.data.clips import spread
from nwt_jax.data.tokens import Tokens
from nwt_jax.models.prior import Prior

CLIPS_FOR_RATES = 200  # training clips in which rates of change are measured


def batch_layout(config: Any, prior: Prior) -> tuple[tuple[int, int], tuple[str, ...]]:
  """Returns the margins of mel around a window, in frames before and after it, and the fields that a batch has."""
  if config.data.mel_margins:
    return prior.cond_margins, ("codes", "mel", "valid", "episode")
  return (0, 0), ("codes", "mel", "episode")  # without margins every mel frame is inside its clip


def make_batches(config: Any, prior: Prior) -> Callable[[int], Iterator[dict]]:
  """Builds batches(first step) -> this process's training batches: codes [b t i j k], mel, episode [b]."""
  margins, fields = batch_layout(config, prior)

  def batches(first: int) -> Iterator[dict]:
    data = config.data
    iterator = token_batches(
      data.path, "train", data.batch_size, data.frames, data.seed, start_step=first,
      process_index=jax.process_index(), process_count=jax.process_count(), num_threads=data.num_threads,
      around=margins,
    )  # fmt: skip
    return ({name: batch[name] for name in fields} for batch in iterator)

  return batches


def make_windows(config: Any, prior: Prior) -> Callable[[], Iterator[tuple[int, dict, np.ndarray]]]:
  """Builds windows() -> (clip index, batch of one, whether each mel frame is inside its clip) of `eval.clips` held-out
  clips, as long as a training window and in the layout of `make_batches`."""
  margins, fields = batch_layout(config, prior)
  held_out = Tokens.held_out(config.data.path)
  fit = [clip for clip, row in enumerate(held_out.index) if row["frames"] >= config.data.frames]
  chosen = spread(held_out.index, config.eval.clips, config.data.frames, fit)

  def windows() -> Iterator[tuple[int, dict, np.ndarray]]:
    for clip, start in chosen:
      window = held_out.window(clip, start, config.data.frames, margins)
      yield clip, {name: window[name][None] for name in fields}, np.repeat(window["valid"] > 0, prior.mel_stride)

  return windows


def style_windows(tokens: Tokens, count: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns windows of up to `count` clips that are long enough, from all over the data: codes int32 [b t i j k],
  episode int32 [b]."""
  chosen = spread(tokens.index, count, frames, long_enough(tokens, frames))
  windows = [tokens.window(clip, start, frames) for clip, start in chosen]
  return np.stack([w["codes"] for w in windows]).astype(np.int32), np.array([w["episode"] for w in windows], np.int32)


def change_rate(tokens: Tokens, frames: int) -> np.ndarray:
  """Returns how often the symbols at each position differ from the frame before, float [i j], in training clips from
  all over the data. Args: frames: length of the windows by which clips are chosen."""
  changes, count = np.zeros((tokens.metadata["height"], tokens.metadata["width"])), 0
  for clip, _ in spread(tokens.index, CLIPS_FOR_RATES, frames):
    codes = tokens[clip]["codes"]
    changes += (codes[1:] != codes[:-1]).sum(axis=(0, 3))
    count += (len(codes) - 1) * codes.shape[-1]
  return changes / max(count, 1)
