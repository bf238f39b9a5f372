"""The paper's study of Memcodes on MNIST: appendix A, and the ablation of B.1.5.

  python -m nwt_jax.analysis.mnist --data=tfds --output=out/mnist
  python -m nwt_jax.analysis.mnist --data=DIR --output=out/mnist --experiment=a2 --seeds=1

Trains each model for each seed (a run that was cut off goes on where it was) and writes results.json and PNG figures.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from nwt_jax import aliases, cli
from nwt_jax.errors import InputError

PAPER = {  # A.1, A.2
  "a1.occupancy": 0.83,
  "a2.dvae.nn_accuracy": 0.753,
  "a2.dvae_adv.nn_accuracy": 0.769,
  "a2.dvae_class.nn_accuracy": 0.947,
  "a2.dvae_class.critic_accuracy": 0.973,
}
A2_MODELS = {"dvae": "loss=elbo", "dvae_adv": "loss=adv", "dvae_class": "loss=class", "dvae_frozen": "loss=frozen"}
SAMPLERS = ("gumbel", "softmax")  # compared in B.1.5
GRADIENT_DRAWS = 64  # noise draws, over which the variance of a gradient is taken
QUERIES = 8  # rows of Figure 4


def define_flags() -> None:
  """Defines this program's options; in a function, so that tests can import the file beside other programs."""
  flags.DEFINE_string("data", None, "Folder with MNIST's four idx files (.gz or not), or tfds: download them.")
  flags.DEFINE_string("output", None, "Folder for results.json, the figures and the training runs.")
  flags.DEFINE_enum("experiment", "all", ["all", "a1", "a2", "b15"], "Which part.")
  flags.DEFINE_integer("seeds", 3, "Runs of each model; the table gives mean and spread.", lower_bound=1)
  flags.DEFINE_bool("fast", False, "Two steps of tiny networks, one seed: shows that all works, no more.")
  flags.DEFINE_bool("held_out", False, "Evaluate on 5,000 training pictures that are held out, to choose settings by.")


def main(_: Any) -> None:
  """Runs the experiments and writes what they found."""
  options = flags.FLAGS
  from nwt_jax.data.mnist import read_digits
  from nwt_jax.io.disk import check_folder

  mnist = read_digits(options.data, "train")  # before jax: a wrong folder is answered at once
  output = Path(options.output)
  check_folder(output, "output")
  options_of_run = {"data": mnist.fingerprint(), "fast": options.fast, "held_out": options.held_out}
  claim_output(output, options_of_run)
  study = Study(options.data, output, options.fast, not options.held_out)
  chosen = ("a1", "a2", "b15") if options.experiment == "all" else (options.experiment,)
  found: dict[str, list[float]] = {}
  for seed in range(1 if options.fast else options.seeds):
    for name in chosen:
      for key, value in getattr(study, name)(seed).items():
        found.setdefault(key, []).append(float(value))
    write(output, found)
  print(table(found))
  print(output / "results.json")


def claim_output(output: Path, options: dict) -> None:
  """Makes the folder and writes what its results depend on, so that quick and whole runs do not meet in one table.

  Raises: InputError: it holds results of other options.
  """
  path = output / "settings.json"
  if path.exists() and json.loads(path.read_text()) != options:
    raise InputError(f"{output} holds results of other settings ({path.read_text().strip()}); use a new --output")
  output.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(options) + "\n")


def write(output: Path, found: dict[str, list[float]]) -> None:
  """Adds results to results.json; experiments that an earlier call ran stay in it."""
  path = output / "results.json"
  before = json.loads(path.read_text()) if path.exists() else {}
  results = before | {name: summary(values) for name, values in found.items()}
  path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def summary(values: list[float]) -> dict:
  """Returns mean and standard deviation over seeds, and the values."""
  return {"mean": float(np.mean(values)), "std": float(np.std(values)), "seeds": len(values), "values": values}


def table(found: dict[str, list[float]]) -> str:
  """Returns a table of the results beside the paper's, for a terminal."""
  rows = [f"{'':42s} {'mean':>8s} {'std':>8s} {'seeds':>5s} {'paper':>7s}"]
  for name, values in sorted(found.items()):
    s = summary(values)
    paper = f"{PAPER[name]:7.3f}" if name in PAPER else ""
    rows.append(f"{name:42s} {s['mean']:8.4f} {s['std']:8.4f} {s['seeds']:5d} {paper}".rstrip())
  return "\n".join(rows)


class Study:
  """The experiments, each a method: seed -> name -> number; the first seed also draws the figures."""

  def __init__(self, data: str, output: Path, fast: bool, test: bool):
    self.data, self.output, self.fast, self.test = data, output, fast, test

  def config(self, arg: str, seed: int, **objective: Any) -> Any:
    """Returns the config of one run."""
    from nwt_jax.configs import dvae_mnist

    config = dvae_mnist.get_config(f"{arg},tiny" if self.fast else arg)
    with config.unlocked():
      config.data.update({"path": self.data, "seed": seed, "test": self.test})
      config.train.seed = seed
      config.objective.update(objective)
    return config

  def trained(self, name: str, config: Any, critic: dict | None = None) -> Any:
    """Trains to the config's last step, going on from where an earlier call was stopped. Returns: the state."""
    from nwt_jax.train import loop
    from nwt_jax.train.stages import mnist

    workdir = self.output / "runs" / f"{name}-{config.train.seed}"
    before = workdir / "config.json"
    if before.exists() and without_path(before.read_text()) != without_path(config.to_json_best_effort()):
      raise InputError(f"{workdir} was trained with other settings; use a new --output, or delete it")
    print(f"\n== {workdir}", flush=True)
    return loop.train(config, workdir, lambda config: mnist.make_stage(config, critic))[0]

  def figure(self, seed: int, name: str, picture: np.ndarray) -> None:
    """Writes a figure of the first seed."""
    from nwt_jax.io.image import write_png

    if seed == 0:
      write_png(self.output / f"{name}.png", picture)

  def digits_figure(self, seed: int, name: str, pictures: np.ndarray, columns: int) -> None:
    """Writes a figure of pictures [... h w] in rows of `columns`, without their frames."""
    from nwt_jax.analysis import figures
    from nwt_jax.data.mnist import unframed

    self.figure(seed, name, figures.tiles(unframed(pictures.reshape(-1, *pictures.shape[-2:])), columns))

  def a1(self, seed: int) -> dict[str, float]:
    """A.1: draws a space of 46 x 46, measures how much of it training pictures occupy, edits one of four heads."""
    from nwt_jax.analysis import figures, permutations
    from nwt_jax.train.stages import mnist

    config = self.config("heads=2,codes=46", seed)
    train, _ = mnist.split(config)
    gen = self.trained("a1", config).gen
    num_codes = config.model.num_codes
    codes = mnist.make_encoder(config)(gen, train.pictures)
    every = permutations.all_permutations(2, num_codes)[:, ::-1]  # head 0 along x, head 1 along y, as in the paper
    self.digits_figure(seed, "a1_all_generations", mnist.make_decoder(config)(gen, every), num_codes)
    counts = permutations.occupancy_counts(codes, train.labels, num_codes)
    self.figure(seed, "a1_occupancy", figures.occupancy_plot(counts))

    four = self.config("heads=4,codes=8", seed)
    gen = self.trained("a1_four_heads", four).gen
    first = np.array([np.flatnonzero(train.labels == digit)[0] for digit in range(10)])
    codes_of_first = mnist.make_encoder(four)(gen, train.pictures[first])
    decode = mnist.make_decoder(four)
    rows = [train.pictures[first, 0, :, :, 0][:, None], decode(gen, codes_of_first)[:, None]]
    for head in range(4):
      edits = permutations.head_edits(codes_of_first, head, four.model.num_codes)
      rows += [decode(gen, part)[:, None] for part in edits]
    sheet = np.concatenate(rows, axis=1)  # [digit, picture, reconstruction, 4 heads x 8 codes, h, w]
    self.digits_figure(seed, "a1_head_edits", sheet, sheet.shape[1])
    return {"a1.occupancy": permutations.occupancy(codes, num_codes)}

  def a2(self, seed: int) -> dict[str, float]:
    """A.2: classifies digits by the nearest Memcode, for models trained to reconstruct different things."""
    from nwt_jax.analysis import hamming
    from nwt_jax.train.stages import mnist

    config = self.config("", seed)
    train, test = mnist.split(config)
    results = {}

    def record_accuracy(name: str, queries: np.ndarray, base: np.ndarray) -> None:
      accuracies = hamming.nearest_label_accuracy(queries, test.labels, base, train.labels)
      results[f"a2.{name}.nn_accuracy"], results[f"a2.{name}.nn_accuracy_random_tie"] = accuracies

    random = np.random.default_rng(seed)
    shape = (config.model.num_heads,)
    draw = lambda digits: random.integers(0, config.model.num_codes, (len(digits.labels), *shape))
    record_accuracy("random", draw(test), draw(train))
    results["a2.pixel.nn_accuracy"] = pixel_accuracy(test, train)
    for name, arg in A2_MODELS.items():
      config, critic = self.config(arg, seed), None
      if name == "dvae_frozen":
        critic = mnist.train_classifier(config, train, config.train.steps)
        results["a2.dvae_frozen.critic_accuracy"] = mnist.make_classifier_test(config)(critic, test)
      state = self.trained(f"a2_{name}", config, critic)
      encode = mnist.make_encoder(config)
      base, queries = encode(state.gen, train.pictures), encode(state.gen, test.pictures)
      record_accuracy(name, queries, base)
      results[f"a2.{name}.permutations"] = len(np.unique(base, axis=0))
      if name == "dvae_class":
        results["a2.dvae_class.critic_accuracy"] = mnist.make_classifier_test(config)(state.critic, test)
      found = hamming.nearest(queries[:QUERIES], base, 10)
      sheet = np.concatenate([test.pictures[:QUERIES, None], train.pictures[found]], axis=1)[:, :, 0, :, :, 0]
      self.digits_figure(seed, f"a2_{name}_neighbours", sheet, 11)
    return results

  def b15(self, seed: int) -> dict[str, float]:
    """B.1.5: compares the straight-through gradient with the noise inside the softmax to the one without.

    Both gradients are measured in both trained models, so that the networks do not differ between the two numbers.
    """
    results, noise = {}, {sampler: [] for sampler in SAMPLERS}
    for sampler in SAMPLERS:
      config = self.config("loss=elbo", seed, sampler=sampler)
      state = self.trained(f"b15_{sampler}", config)
      for other in SAMPLERS:
        config.objective.sampler = other
        variance, loss = gradient_noise(config, state)
        noise[other].append(variance)
        if other == sampler:
          results[f"b15.{sampler}.loss"] = loss
    return results | {f"b15.{sampler}.gradient_variance": np.mean(found) for sampler, found in noise.items()}


def gradient_noise(config: Any, state: Any) -> tuple[float, float]:
  """Measures how much the encoder's gradient changes with the sampler's noise, on one fixed batch.

  Returns: the variance over draws, summed over the encoder's parameters; and the mean loss.
  """
  import jax
  import jax.numpy as jnp

  from nwt_jax import build
  from nwt_jax.objectives.dvae import make_losses
  from nwt_jax.train.stages import mnist
  from nwt_jax.train.stages.dvae_step import prepare

  model = build.dvae(config.model)
  losses = make_losses(model.apply, None, build.dvae_loss_weights(config.objective))  # ty: ignore[invalid-argument-type]
  _, test = mnist.split(config)
  batch = next(mnist.digit_batches(test, min(config.data.batch_size, len(test.labels)), seed=0))
  inputs = prepare({name: jnp.asarray(value) for name, value in batch.items()})

  @jax.jit
  def gradient(key):
    loss = lambda gen: losses(gen, {}, *inputs, key, state.step)[0]
    value, grads = jax.value_and_grad(loss)(state.gen)
    return value, jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(grads["params"]["encoder"])])

  values, draws = zip(*(gradient(jax.random.key(i)) for i in range(GRADIENT_DRAWS)), strict=True)
  return float(np.asarray(draws, np.float64).var(axis=0, ddof=1).sum()), float(np.mean(values))


def without_path(text: str) -> dict:
  """Returns a config, from JSON, without the path of the data: it may have moved, and the loop compares its content."""
  config = aliases.rename_fields(json.loads(text))
  return {**config, "data": {name: value for name, value in config["data"].items() if name != "path"}}


def pixel_accuracy(test: Any, train: Any) -> float:
  """Returns the accuracy of the nearest neighbour by Euclidean distance of raw pixels: a baseline without a model."""
  flat = lambda d: d.pictures.reshape(len(d.labels), -1).astype(np.float32) / 255.0
  queries, base = flat(test), flat(train)
  norms = (base**2).sum(axis=1)
  parts = np.array_split(queries, -(-len(queries) // 500))
  picks = [np.argmin(norms - 2.0 * part @ base.T, axis=1) for part in parts]
  return float(np.mean(train.labels[np.concatenate(picks)] == test.labels))


if __name__ == "__main__":
  define_flags()
  cli.run(main, "data", "output")
