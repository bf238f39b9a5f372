"""A few updates on noise, stopped and resumed: whether training works on this machine."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
from ml_collections import ConfigDict

from nwt_jax.data import dataset
from nwt_jax.prepare.write import records as sources
from nwt_jax.train import loop
from nwt_jax.train.stages import dvae


def resume_trial(folder: Path, steps: int, stop: int) -> tuple[list[int], bool]:
  """Trains a tiny dVAE in `folder`, once in one go and once stopped and resumed.

  Returns: the steps at which the three runs began; whether both ways end in the same bits.
  """
  write_noise(folder / "data")
  began = []

  def run(name: str, steps: int) -> list:
    config = tiny_config(str(folder / "data"), 4 * jax.device_count(), steps)

    def make_stage():
      stage = dvae.make_stage(config)
      return dataclasses.replace(stage, batches=lambda first: began.append(first) or stage.batches(first))

    state, _ = loop.train(make_stage, config, folder / name)
    return jax.tree.leaves(jax.device_get(state))

  whole, _, resumed = run("whole", steps), run("resumed", stop), run("resumed", steps)
  return began, all(a.tobytes() == b.tobytes() for a, b in zip(whole, resumed, strict=True))


def write_noise(folder: Path) -> None:
  """Writes a data set of four clips of noise, 12 frames of 32 x 24 each."""
  noise = np.random.default_rng(0)
  frames, sound = noise.integers(0, 256, (4, 12, 32, 24, 3), np.uint8), noise.uniform(-0.1, 0.1, (4, 9600))
  clips = [SimpleNamespace(name=f"noise{n}", read=lambda _, n=n: (frames[n], sound[n], None)) for n in range(4)]
  records = [sources.make_record(clip, 0, sources.Picture(32, 24, 30, "png")) for clip in clips]
  facts = {"episodes": ["noise"], "fps": 30, "height": 32, "width": 24, "sample_rate": 24_000}
  splits = {"train": (3, records[:3]), "validation": (1, records[3:]), "test": (0, [])}
  dataset.write_dataset(folder, "clips", dataset.clip_features(), splits, facts, 4)


def tiny_config(path: str, batch_size: int, steps: int):
  """The fields of configs/dvae_lwt.py:tiny (an installed package has no configs), with smaller critics."""
  adam = {"learning_rate": 1e-4, "b1": 0.9, "b2": 0.999, "eps": 1e-7, "clip": 0.0, "warmup": 0}
  return ConfigDict({
    "family": "dvae", "num_classes": 0,
    "model": {
      "stem": 4, "stages": ((1, 8),) * 3, "temporal": ((4, 8), (2, 8), (2, 8)), "kernel": 4, "patch": 1, "num_heads": 2,
      "num_codes": 4, "code_dim": 8, "attention_dim": 8, "query_init": 0.1, "num_episodes": 1, "episode_dim": 4,
    },
    "critics": ((((2, 4, 4), 4, 1, 4),), (((1, 2, 2), 1, 1, 4), ((1, 4, 4), 2, 2, 4))),  # over time, and with groups
    "objective": {
      "reconstruction": "features", "critics": "adversarial", "gan_weight": 5e-3, "gp_weight": 10.0,
      "class_weight": 0.0, "class_smoothing": 0.0, "kl_weight": 1.0, "kl_midpoint": 5e3, "kl_rate": 1e-3,
      "pixel_power": 1, "pixel_weight": 0.0, "pixel_fade_steps": 0, "sampler": "gumbel",
    },
    "optim": {"gen": dict(adam), "critic": dict(adam)},
    "data": {"path": path, "batch_size": batch_size, "frames": 3, "seed": 0, "num_threads": 1},
    "train": {
      "steps": steps, "seed": 0, "log_every": 1, "eval_every": steps, "save_every": steps, "keep": 1, "init": "",
      "fresh": "", "export_dtype": "float32", "update_order": "joint", "critic_steps": 1,
      "precision": "tensorfloat32", "remat": False, "accumulate": 1, "fsdp": 1, "ema_decay": 0.0, "max_skipped": 10,
      "max_growth": 1e3, "heartbeat": 100,
    },
    "eval": {"clips": 1, "frames": 6, "chunk_frames": 6},
  }).lock()  # fmt: skip
