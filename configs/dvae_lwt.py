"""Stage 1, dVAE-Adv on 256 x 224 frames (Table 4, C.2.1).

Arguments, joined with commas: mem8 (8 x 7 Memcodes), elbo (pixel L1, no critics), demo (the shipped model: the talker
at 64 x 56 in 8 x 7 Memcodes), tiny (seconds long, for tests).
"""

import ml_collections

from nwt_jax.configs import common

# Table 4b; a layer is (kernel (frames, rows, columns), stride in space, groups, features)
CRITICS = (
  (((1, 4, 4), 1, 1, 32), ((2, 4, 4), 4, 1, 64), ((2, 4, 4), 4, 1, 512), ((4, 2, 2), 1, 1, 512)),
  (
    ((1, 2, 2), 1, 1, 32),
    ((1, 4, 4), 2, 16, 128),
    ((1, 4, 4), 2, 64, 512),
    ((1, 4, 4), 2, 64, 512),
    ((1, 2, 2), 1, 1, 512),
  ),
  (
    ((1, 4, 4), 1, 1, 32),
    ((1, 8, 8), 4, 16, 128),
    ((1, 4, 4), 2, 64, 512),
    ((1, 4, 4), 2, 256, 1024),
    ((1, 4, 4), 2, 256, 1024),
    ((1, 2, 2), 1, 1, 1024),
  ),
)


def scaled(critics: tuple, divisor: int) -> tuple:
  """Returns the same critics with features and groups divided."""
  return tuple(
    tuple(
      (kernel, stride, max(groups // divisor, 1), features // divisor) for kernel, stride, groups, features in layers
    )
    for layers in critics
  )


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  words = common.variants(arg, ("mem8", "elbo", "demo", "tiny"))
  if {"mem8", "demo"} <= words:
    raise ValueError("config arguments mem8 and demo exclude each other; choose from one of them")
  config = ml_collections.ConfigDict()
  config.family = "dvae"
  config.model = ml_collections.ConfigDict(
    {
      "stem": 32,
      # Table 4a. GAP: "Res n x" could be n blocks; see models.blocks.Residual
      "stages": ((3, 64), (4, 128), (6, 256), (3, 256)),
      "temporal": ((4, 256), (2, 512), (2, 512)),
      "kernel": 4,
      "patch": 1,
      "num_heads": 8,
      "num_codes": 8,
      "code_dim": 1024,
      "attention_dim": 1024,
      "query_init": 0.1,  # GAP: see models/memcodes.py
      "num_episodes": 215,  # replaced by the data set's
      "episode_dim": 64,  # GAP: not given
    }
  )
  config.critics = CRITICS
  config.num_classes = 0  # a class head on the critics has so many (A.2); clips have no classes
  config.objective = ml_collections.ConfigDict(
    {
      "reconstruction": "features",  # eq. 7; "pixels" is the plain ELBO of eq. 4
      "critics": "adversarial",
      "gan_weight": 5e-3,  # gamma, C.2.1
      "gp_weight": 10.0,  # lambda, C.2.1
      "class_weight": 0.0,
      "class_smoothing": 0.0,
      "kl_weight": 1.0,  # beta after annealing, C.2.1
      "kl_midpoint": 5_000.0,  # C.2.1
      "kl_rate": 1e-3,  # C.2.1
      "pixel_power": 1,  # Laplace, as eq. 7
      "pixel_weight": 0.0,
      "pixel_fade_steps": 0,
      "sampler": "gumbel",  # Alg. 1; "softmax" is the alternative of B.1.5
    }
  )
  config.optim = ml_collections.ConfigDict({"gen": common.adam(1e-4), "critic": common.adam(1e-4)})  # C.2.1
  config.data = ml_collections.ConfigDict(
    {"path": "", "batch_size": 16, "frames": 30, "seed": 0, "num_threads": 4}
  )  # 3.2, C.2.1
  config.train = common.train(steps=150_000)  # C.2.1
  config.train.update_order = "joint"  # Alg. 2; "alternate" updates the critics first, `critic_steps` times
  config.train.critic_steps = 1
  config.eval = ml_collections.ConfigDict({"clips": 8, "frames": 90, "chunk_frames": 30})
  if "mem8" in words:
    # Table 2's Mem8: one more halving. DEPARTS: its caption gives every Memcode 24 bits; by its sizes (half of Mem16's
    # bytes in a quarter of the Memcodes) Mem8's have 48: 16 heads of 8 codes. GAP: the added stage is as the last one.
    config.model.stages = (*config.model.stages, (3, 256))
    config.model.num_heads = 16
  if "demo" in words:
    _demo(config)
  if "tiny" in words:
    _tiny(config)
  if "elbo" in words:
    config.objective.reconstruction = "pixels"
  config.lock()
  return config


def _demo(config) -> None:
  """64 x 56 frames in 8 x 7 Memcodes, small enough to train on CPU cores.

  DEPARTS: narrower than Table 4 (critics an eighth), and trained for 5,000 updates on windows of 4 frames, where C.2.1
  has 150,000 on 30."""
  config.model.update(
    {
      # DEPARTS: the outermost convolutions work on 2 x 2 blocks of pixels: narrow ones on every pixel are slow on CPU
      "patch": 2,
      "stem": 32,
      "stages": ((1, 48), (1, 96)),
      "temporal": ((2, 128), (2, 128)),
      "code_dim": 128,
      "attention_dim": 128,
      "episode_dim": 32,
    }
  )
  config.critics = scaled(CRITICS, 8)
  # DEPARTS: the first updates also see a fading pixel L1: from scratch at these learning rates the critics run away
  # from a generator that still draws one image, and the codes saturate.
  config.objective.update({"pixel_weight": 10.0, "pixel_fade_steps": 1_000})
  # DEPARTS: C.2.1 anneals with midpoint 5,000 and rate 1e-3 in 150,000 updates; in 5,000 it goes ten times as fast
  config.objective.update({"kl_midpoint": 500.0, "kl_rate": 1e-2})
  # DEPARTS: C.2.1's rate is 1e-4
  config.optim.gen.learning_rate = config.optim.critic.learning_rate = 3e-4
  config.data.update({"batch_size": 16, "frames": 4})
  config.train.update(
    {"steps": 5_000, "log_every": 20, "eval_every": 1_000, "save_every": 200, "export_dtype": "float16"}
  )


def _tiny(config) -> None:
  stages = 4 if len(config.model.stages) == 5 else 3
  config.model.update(
    {
      "stem": 4,
      "stages": ((1, 8),) * stages,
      "temporal": ((4, 8), (2, 8), (2, 8)),
      "num_heads": 2,
      "num_codes": 4,
      "code_dim": 8,
      "attention_dim": 8,
      "episode_dim": 4,
    }
  )
  config.critics = tuple(layers[:3] for layers in scaled(CRITICS, 8))
  config.data.update({"batch_size": 4, "frames": 6})
  config.train.update({"steps": 2, "log_every": 1, "eval_every": 2, "save_every": 2})
  config.eval.update({"clips": 1, "frames": 12, "chunk_frames": 6})
