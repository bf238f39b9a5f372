"""Appendix A: dVAE and dVAE-Adv on MNIST, one Memcode a picture (A.1, A.2).

Arguments, joined with commas: heads=2 and codes=46 (without them A.2's 11 heads of 2 codes); loss=elbo (eq. 4), adv
(eq. 8; the default), class (dVAE-Class) or frozen (the penultimate layer of a pretrained classifier); tiny.
"""

import ml_collections

from nwt_jax.configs import common

LOSSES = ("adv", "elbo", "class", "frozen")

# GAP: critics' number and sizes are not given. One; its last layer sees the whole picture. A layer is (kernel, stride,
# groups, features) as in dvae_lwt.py
CRITIC = (((1, 4, 4), 2, 1, 16), ((1, 4, 4), 2, 1, 32), ((1, 4, 4), 2, 1, 64), ((1, 4, 4), 4, 1, 128))

# GAP: as above. Where the critic tells digits its penultimate layer is narrow: codes that reconstruct
# 128 features told held-out digits apart less well
CLASSIFIER = (*CRITIC, ((1, 1, 1), 1, 1, 64), ((1, 1, 1), 1, 1, 32))


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  words = dict(word.partition("=")[::2] for word in arg.split(",") if word)
  common.variants(",".join(words), ("heads", "codes", "loss", "tiny"))
  heads, codes = (int(words.get(name, default)) for name, default in (("heads", 11), ("codes", 2)))
  if heads < 1 or codes < 2:
    raise ValueError(f"config arguments heads={heads},codes={codes}: choose from 1 head and 2 codes on")
  loss = words.get("loss", "adv")
  if loss not in LOSSES:
    raise ValueError(f"config argument loss={loss} is unknown; choose from {', '.join(LOSSES)}")
  classes = loss in ("class", "frozen")
  config = ml_collections.ConfigDict()
  config.family = "digits"
  config.model = ml_collections.ConfigDict(
    {
      # GAP: A.1 says no more than "downsample to 1 x 1": pictures of 32 x 32 (28 with a frame), five halvings: blocks
      # of 4 x 4 pixels and three strided convolutions; all widths and the codebook's are ours
      "patch": 4,
      "stem": 16,
      "stages": ((0, 32), (0, 64), (0, 128)),
      "temporal": ((1, 128),),  # one frame
      "kernel": 4,
      "channels": 1,
      "num_heads": heads,
      "num_codes": codes,
      "code_dim": 64,
      "attention_dim": 32 * heads,
      "query_init": 1.0,  # GAP: see models/memcodes.py
      "num_episodes": 1,
      "episode_dim": 1,
    }
  )
  config.critics = (CLASSIFIER if classes else CRITIC,)
  config.num_classes = 10 if classes else 0
  config.objective = ml_collections.ConfigDict(
    {
      "reconstruction": {"adv": "features", "elbo": "pixels"}.get(loss, "penultimate"),
      "critics": "frozen" if loss == "frozen" else "adversarial",
      "gan_weight": 5e-3,  # gamma, C.2.1
      "gp_weight": 10.0,  # lambda, C.2.1
      # GAP: not given; of 1, 50, 500 and 5,000 the last one's codes told held-out digits apart best
      "class_weight": 5_000.0 if loss == "class" else 0.0,
      # DEPARTS: smoothed targets (Szegedy et al. 2016) draw each digit's features together (Mueller et al. 2019)
      "class_smoothing": 0.1 if classes else 0.0,
      "kl_weight": 1.0,  # beta after annealing, C.2.1
      # DEPARTS: C.2.1 anneals with midpoint 5,000 and rate 1e-3, for 150,000 updates; there are 1,600 to 6,000 here
      "kl_midpoint": 1_000.0,
      "kl_rate": 5e-3,
      "pixel_power": 2,  # GAP: a Gaussian. Under L1 a picture without ink is where learning stops: it is the median
      "pixel_weight": 0.0,
      "pixel_fade_steps": 0,
      "sampler": "gumbel",
    }
  )
  if codes > 8:
    # GAP: A.1's weights are not given. Features differ some thirty times as much as pixels: beside them a KL of weight
    # 1 leaves most of 46 codes unused, one of 30 from the start none. In A.2 it costs accuracy
    config.objective.update({"kl_weight": 30.0, "kl_midpoint": -1_000.0})
  # Updates, and in how many the rates halve
  steps, half_life = {"class": (3_600, 1_100), "frozen": (2_000, 600)}.get(loss, (1_600, 500))
  if codes > 8:
    steps, half_life = 6_000, 3_750
  # DEPARTS: C.2.1's rate is 1e-4 throughout, for 150,000 updates; here rates decay, and the generator's has a warm-up
  decay = {"half_life": half_life, "min_learning_rate": 1e-5}
  config.optim = ml_collections.ConfigDict(
    {"gen": common.adam(1e-3, warmup=100, **decay), "critic": common.adam(1e-3, **decay)}
  )
  if classes:
    # GAP: C.2.1 names none. With smoothed targets, at the full rate from the start, codes saturate and stay so
    config.optim.gen.warmup = 800
  if loss == "adv":
    # C.2.1's rate. At the generator's, features change faster than it learns to reconstruct them
    config.optim.critic.learning_rate = 1e-4
  if loss == "class":
    # DEPARTS: the first updates also see a fading pixel distance. It kept codes from saturating at this critic's rate,
    # which must stay high for its digits; not tried without since queries start from data
    config.objective.update({"pixel_weight": 1.0, "pixel_fade_steps": 200})
  # GAP: A.1's batch is not given
  config.data = ml_collections.ConfigDict({"path": "", "batch_size": 128, "seed": 0, "held_out": 5_000, "test": False})
  # DEPARTS: pixels by which digits are moved at random: codes and critic both do better on pictures that are not seen
  config.data.shift = 1 if classes else 0
  config.train = common.train(steps)
  config.train.update({"log_every": 50, "eval_every": 800, "save_every": 800})
  config.train.update_order = "joint"
  config.train.critic_steps = 1
  config.eval = ml_collections.ConfigDict({"pictures": 16})
  if "tiny" in words:
    _tiny(config)
  config.lock()
  return config


def _tiny(config) -> None:
  config.model.update({"stem": 4, "stages": ((0, 4), (0, 8), (0, 8)), "temporal": ((1, 8),), "code_dim": 4})
  config.model.attention_dim = 4 * config.model.num_heads
  config.critics = (tuple((kernel, stride, 1, 4) for kernel, stride, _, _ in config.critics[0]),)
  config.data.update({"batch_size": 8, "held_out": 4})
  config.train.update({"steps": 2, "log_every": 1, "eval_every": 2, "save_every": 2})
  config.eval.pictures = 2
