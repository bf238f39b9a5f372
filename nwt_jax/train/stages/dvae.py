"""Stage 1 assembled from a config: clips, generator and critics, their update, evaluation and export (2.1, C.1)."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from nwt_jax import build
from nwt_jax.data.batches import long_enough, video_batches
from nwt_jax.data.clips import Clips, spread
from nwt_jax.train.preflight import inputs
from nwt_jax.train.stages.dvae_eval import PROGRESS, collapse_warning, make_evaluator
from nwt_jax.train.stages.dvae_export import make_exporter
from nwt_jax.train.stages.dvae_step import make_update
from nwt_jax.train.stages.stage import Stage

START_CLIPS, START_FRAMES = 16, 4  # networks are initialised with so many windows of so many frames


def make_stage(config: Any) -> Stage:
  """Makes everything the loop needs from a config of family "dvae", whose `data.path` is a prepared data set.

  `model.num_episodes` is set to the data's. Raises: InputError: the data does not fit the model.
  """
  clips = Clips(config.data.path, "train")
  metadata = clips.metadata
  with config.unlocked():
    config.model.num_episodes = len(metadata["episodes"])
  model = build.dvae(config.model, config.train.remat)
  inputs.check_frames(config, metadata)
  state, step = make_update(config, model, starting_windows(clips, config.data.frames))
  memcodes = config.data.batch_size // config.train.accumulate * config.data.frames
  return Stage(
    state=state,
    step=step,
    batches=make_batches(config.data),
    evaluate=make_evaluator(config, model, metadata["fps"]),
    export=make_exporter(config, metadata),
    progress=PROGRESS,
    warning=collapse_warning(config.model.num_codes, memcodes),
    fingerprint=metadata["fingerprint"],
  )


def make_batches(data: Any) -> Callable[[int], Iterator[dict]]:
  """Builds batches(first step) -> this process's training batches: video uint8 [b t h w 3], episode int32 [b].

  Args: data: a config's `data`.
  """

  def batches(first: int) -> Iterator[dict]:
    iterator = video_batches(
      data.path, "train", data.batch_size, data.frames, data.seed, start_step=first,
      process_index=jax.process_index(), process_count=jax.process_count(), num_threads=data.num_threads,
    )  # fmt: skip
    return ({"video": b["video"], "episode": np.asarray(b["episode"], np.int32)} for b in iterator)

  return batches


def starting_windows(clips: Clips, frames: int) -> np.ndarray:
  """Returns short windows from all over the clips, uint8 [b t h w 3], to initialise the networks with."""
  frames = min(frames, START_FRAMES)
  chosen = spread(clips.index, START_CLIPS, frames, long_enough(clips, frames))
  windows = [clips.window(clip, start, frames)["video"] for clip, start in chosen]
  return np.stack([windows[number % len(windows)] for number in range(START_CLIPS)])
