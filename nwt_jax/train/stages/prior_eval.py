"""Evaluation of stage 2: held-out losses, the information gained from speech, sampled clips beside the real ones."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nwt_jax.api import model as api
from nwt_jax.data.clips import Clips
from nwt_jax.models.prior import Prior
from nwt_jax.train.runtime.pictures import write_grid, write_pairs
from nwt_jax.train.stages.prior_step import PriorState, make_prior_loss

PROGRESS = ("loss/ce", "loss/ce_first", "loss/style_kl", "accuracy", "grad_norm/prior")
CLIPS_FOR_PICTURES = 4


def make_evaluator(
  config: Any,
  prior: Prior,
  objective: Callable,
  windows: Callable[[], Iterator[tuple[int, dict, np.ndarray]]],
  clips: Clips | None,
) -> Callable[[PriorState, Path], dict[str, float]]:
  """Builds evaluate(state, folder) -> metrics, means over held-out windows.

  `speech_gain` is the gain, in nats per frame, of matched speech over the same speech shifted by half a window: by how
  much the cross-entropy of a clip's Memcodes grows with the shift. It is 0 while a prior ignores the timing of speech.

  Args: objective: see `make_objective`. windows: see `prior_data.make_windows`. clips: held-out clips for pictures, or
    None.
  """
  loss = make_prior_loss(prior, objective, history_corruption=0, first_frame_dropout=0)
  metrics_of = jax.jit(lambda params, batch, key: loss(params, batch, key)[1])

  def evaluate(state: PriorState, folder: Path) -> dict[str, float]:
    results = []
    for clip, batch, inside in windows():
      moved = np.copy(batch["mel"])
      moved[:, inside] = np.roll(moved[:, inside], prior.mel_stride * config.data.frames // 2, axis=1)
      key = jax.random.key(clip)
      own, other = (
        jax.device_get(metrics_of(state.prior, {**batch, "mel": mel}, key)) for mel in (batch["mel"], moved)
      )
      gain = (other["loss/ce"] - own["loss/ce"]) * batch["codes"][0, 0].size
      results.append({**own, "speech_gain": gain})
    if clips is not None:
      write_pictures(config, clips, folder)
    scalars = [name for name, value in results[0].items() if value.ndim == 0] if results else []
    return {name: float(np.mean([result[name] for result in results])) for name in scalars}

  return evaluate


def write_pictures(config: Any, clips: Clips, folder: Path) -> None:
  """Writes real clips beside sampled ones. The exported model samples them, so that the pictures show the release.

  Args: clips: held-out clips. folder: WORKDIR/eval/STEP; the export is in WORKDIR/export.
  """
  rate, fps = clips.metadata["sample_rate"], clips.metadata["fps"]
  model = api.NWT.from_checkpoint(folder.parent.parent / "export", config.family)
  pairs, audios = [], []
  for index, clip in enumerate(clips.excerpts(min(config.eval.clips, CLIPS_FOR_PICTURES), config.eval.frames)):
    real, episode = clip["video"], clips.episode_name(clip["episode"])
    sampled = model.generate(clip["audio"], rate=rate, seed=index, episode=episode).collect()
    pairs.append((real, sampled.frames[: len(real)]))
    audios.append(clip["audio"])
  write_grid(folder / "real_above_sampled.png", [clip for pair in pairs for clip in pair])
  write_pairs(folder / "real_beside_sampled.mp4", pairs, audios, fps)
