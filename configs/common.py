"""What all experiments share: how a config's argument is read, and the training defaults."""

from ml_collections import ConfigDict


def variants(arg: str, known: tuple[str, ...]) -> frozenset[str]:
  """Splits `mem8,tiny` into its words.

  Raises: ValueError: a word that is none of `known`.
  """
  words = [word for word in arg.split(",") if word]
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
  modules that `fresh` names."""
  rhythm = {"log_every": 100, "eval_every": 5_000, "save_every": 1_000, "keep": 3}
  return ConfigDict({"steps": steps, "seed": 0, **rhythm, "init": "", "fresh": "", "export_dtype": "float32"})
