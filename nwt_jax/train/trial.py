"""Tries out training on this machine: a few updates on noise, stopped and resumed."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from nwt_jax.configs import dvae_lwt
from nwt_jax.data import dataset
from nwt_jax.prepare.options import Picture
from nwt_jax.prepare.write import records as sources
from nwt_jax.train import loop
from nwt_jax.train.stages import Stage, dvae


def resume_trial(folder: Path, steps: int, stop: int) -> tuple[list[int], bool]:
  """Trains a tiny dVAE in `folder`, once in one go and once stopped and resumed.

  Returns: the steps at which the three runs began; whether both ways end in the same bits.
  """
  write_noise(folder / "data")
  began = []

  def run(name: str, steps: int) -> list:
    config = tiny_config(str(folder / "data"), 4 * jax.device_count(), steps)

    def make_stage(config: ConfigDict) -> Stage:
      stage = dvae.make_stage(config)
      return dataclasses.replace(stage, batches=lambda first: began.append(first) or stage.batches(first))

    state, _ = loop.train(config, folder / name, make_stage)
    return jax.tree.leaves(jax.device_get(state))

  whole, _, resumed = run("whole", steps), run("resumed", stop), run("resumed", steps)
  return began, all(a.tobytes() == b.tobytes() for a, b in zip(whole, resumed, strict=True))


def write_noise(folder: Path) -> None:
  """Writes a data set of four clips of noise, 12 frames of 32 x 24 each."""
  noise = np.random.default_rng(0)
  frames, sound = noise.integers(0, 256, (4, 12, 32, 24, 3), np.uint8), noise.uniform(-0.1, 0.1, (4, 9600))
  picture = Picture(32, 24, 30, "png")
  records = [sources.encode_clip(f"noise{n}", 0, frames[n], sound[n], None, picture) for n in range(4)]
  facts = {"episodes": ["noise"], "fps": 30, "height": 32, "width": 24, "sample_rate": 24_000}
  splits = {"train": (3, records[:3]), "validation": (1, records[3:]), "test": (0, [])}
  dataset.write_dataset(folder, "clips", dataset.clip_features(), splits, facts, 4)


def tiny_config(path: str, batch_size: int, steps: int) -> ConfigDict:
  """configs/dvae_lwt.py:tiny on the data set at `path`, with smaller critics and shorter windows."""
  config = dvae_lwt.get_config("tiny")
  with config.unlocked():
    config.model.num_episodes = 1
    # One critic over time, and one with groups
    config.critics = ((((2, 4, 4), 4, 1, 4),), (((1, 2, 2), 1, 1, 4), ((1, 4, 4), 2, 2, 4)))
    config.data.update({"path": path, "batch_size": batch_size, "frames": 3, "num_threads": 1})
    config.train.update({"steps": steps, "eval_every": steps, "save_every": steps, "keep": 1})
    config.eval.frames = 6
  return config
