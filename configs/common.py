"""What all experiments share: how a config's argument is read, and the training defaults."""

from ml_collections import ConfigDict

from nwt_jax import aliases


def variants(arg: str, known: tuple[str, ...]) -> frozenset[str]:
  """Splits `mem8,tiny` into its words; former words are read as the present ones.

  Raises: ValueError: a word that is none of `known`.
  """
  words = [aliases.WORDS.get(word, word) for word in arg.split(",") if word]
  for word in words:
    if word not in known:
      raise ValueError(f"config argument {word!r} is unknown; choose from {', '.join(known)}")
  return frozenset(words)


def adam(learning_rate: float, **fields) -> ConfigDict:
  """PAPER: C.2.1, C.2.2: Adam with beta1 0.9, beta2 0.999, epsilon 1e-7."""
  return ConfigDict(
    {"learning_rate": learning_rate, "b1": 0.9, "b2": 0.999, "eps": 1e-7, "clip": 0.0, "warmup": 0, **fields}
  )


def train(steps: int) -> ConfigDict:
  """Steps, seeds and rhythms; the rhythms are ours. `init`: a release whose weights a new run starts from, but for the
  modules that `reinit` names, joined by commas, which are drawn anew."""
  rhythm = {"log_every": 100, "eval_every": 5_000, "save_every": 1_000, "keep": 3}
  scale = {
    "precision": "tensorfloat32",  # C.2.1, C.2.2; "bfloat16" computes in it from float32 parameters
    "remat": False,  # True: blocks are computed again in the backward pass, for memory
    "accumulate": 1,  # parts of a batch whose gradients are added up before an update
    "fsdp": 1,  # devices that share one copy of parameters and optimisers
    "ema_decay": 0.0,  # above 0: what is evaluated and released is this moving average of the generator's weights
  }
  health = {
    "max_skipped": 10,  # updates in a row that were not finite, after which a run stops
    "max_growth": 1_000.0,  # times its median that a gradient's norm may be, three logs in a row; 0: any
    "heartbeat": 100,  # seconds after which a silent process counts as dead
  }
  start = {"init": "", "reinit": "", "export_dtype": "float32"}
  return ConfigDict({"steps": steps, "seed": 0, **rhythm, **scale, **health, **start})
