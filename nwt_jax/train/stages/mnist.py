"""Stage 1 on MNIST: the same networks, objectives and update as for clips, on pictures of one frame (appendix A)."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nwt_jax import build
from nwt_jax.data.mnist import SIZE, Digits, digit_batches, read_digits, unframed
from nwt_jax.errors import InputError
from nwt_jax.generate.render import from_pixels, to_pixels
from nwt_jax.io.release import save_release
from nwt_jax.objectives import terms
from nwt_jax.train.runtime.pictures import write_grid
from nwt_jax.train.stages.dvae_eval import PROGRESS, collapse_warning
from nwt_jax.train.stages.dvae_step import DVAEState, make_update
from nwt_jax.train.stages.stage import Stage

CHUNK = 1_000  # pictures encoded or decoded at once


def split(config: Any) -> tuple[Digits, Digits]:
  """Returns training pictures and those to evaluate on: `held_out` ones of the training set, or the test set.

  Held-out pictures come from all over the training set, as its last 5,000 are easier than the others.
  """
  train = read_digits(config.data.path, "train")
  if config.data.test:
    return train, read_digits(config.data.path, "test")
  count, held_out = len(train.labels), config.data.held_out
  if not 1 <= held_out < count:
    raise InputError(f"held_out is {held_out} of {count} pictures; keep some on both sides")
  is_held_out = np.zeros(count, bool)
  is_held_out[np.arange(held_out) * count // held_out] = True
  return tuple(Digits(train.pictures[rows], train.labels[rows]) for rows in (~is_held_out, is_held_out))  # ty: ignore[invalid-explicit-return]


def make_encoder(config: Any) -> Callable[[dict, np.ndarray], np.ndarray]:
  """Builds encode(params, pictures uint8 [n 1 h w 1]) -> the likeliest codes uint8 [n k]."""
  model = build.dvae(config.model)

  @jax.jit
  def codes(params, pictures):
    logits = model.apply(params, from_pixels(pictures), method="encode")
    return jnp.argmax(logits[:, 0, 0, 0], axis=-1).astype(jnp.uint8)

  return lambda params, pictures: np.concatenate([codes(params, part) for part in _parts(pictures)])


def make_decoder(config: Any) -> Callable[[dict, np.ndarray], np.ndarray]:
  """Builds decode(params, codes [n k]) -> pictures uint8 [n h w]."""
  model = build.dvae(config.model)

  @jax.jit
  def pictures(params, codes):
    memcodes = codes[:, None, None, None].astype(jnp.int32)
    video = model.apply(params, memcodes, jnp.zeros((len(codes), 1), jnp.int32), method="decode")
    return to_pixels(video)[:, 0, :, :, 0]

  return lambda params, codes: np.concatenate([pictures(params, part) for part in _parts(codes)])


def _parts(rows: np.ndarray) -> list[np.ndarray]:
  return [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]


def make_stage(config: Any, critic: dict | None = None) -> Stage:
  """Makes everything the loop needs from configs/dvae_mnist.py.

  Args: critic: the critics' parameters at the start; `loss=frozen` needs those of `train_classifier`.
  """
  train, held_out = split(config)
  model = build.dvae(config.model)
  state, step = make_update(config, model, train.pictures[:CHUNK], critic)
  encode, decode = make_encoder(config), make_decoder(config)
  class_accuracy = make_classifier_test(config)

  def batches(first: int) -> Iterator[dict]:
    data, rows = config.data, (jax.process_index(), jax.process_count())
    return digit_batches(train, data.batch_size, data.seed, first, *rows, data.shift)

  def evaluate(state: DVAEState, folder: Path) -> dict[str, float]:
    codes = encode(state.gen, held_out.pictures)
    recon = decode(state.gen, codes)
    real = held_out.pictures[:, 0, :, :, 0]
    rows = [unframed(part[: config.eval.pictures, :, :, None]).repeat(3, axis=-1) for part in (real, recon)]
    write_grid(folder / "real_above_reconstruction.png", rows, columns=config.eval.pictures)
    result = {
      "pixel_l1": float(np.mean(np.abs(real.astype(np.float32) - recon.astype(np.float32))) / 127.5),
      "permutations": float(len(np.unique(codes, axis=0))),
    }
    return result | ({"critic_accuracy": class_accuracy(state.critic, held_out)} if config.num_classes else {})

  def export(state: DVAEState, folder: Path) -> None:
    card = {
      "model": config.model.to_dict(),
      "training": {"steps": int(state.step), "config": config.to_json_best_effort()},
      "generated": "Pictures decoded by this model are generated.",
    }
    save_release(folder, "dvae", jax.device_get(state.gen), card, config.train.export_dtype)

  warn = collapse_warning(config.model.num_codes, config.data.batch_size // config.train.accumulate)
  return Stage(state, step, batches, evaluate, export, PROGRESS, warn, train.fingerprint())


def make_classifier_test(config: Any) -> Callable[[dict, Digits], float]:
  """Builds accuracy(critic parameters, digits) of the critics' class head."""
  critics = build.critics(config.critics, config.num_classes)

  @jax.jit
  def error(params, pictures, labels):
    return terms.class_error(critics.apply(params, from_pixels(pictures)).classes, labels)

  def accuracy(params, digits: Digits) -> float:
    parts = zip(_parts(digits.pictures), _parts(digits.labels), strict=True)
    wrong = sum(float(error(params, pictures, labels)) * len(labels) for pictures, labels in parts)
    return 1.0 - wrong / len(digits.labels)

  return accuracy


def train_classifier(config: Any, train: Digits, steps: int) -> dict:
  """Trains the critics' network as a plain classifier of digits, the pretrained critic of A.2.

  Args: train: the digits. steps: number of updates. Returns: its parameters."""
  critics, tx = build.critics(config.critics, config.num_classes), build.optimiser(config.optim.critic)
  data, smoothing = config.data, config.objective.class_smoothing

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def update(params, state, batch):
    pictures = from_pixels(batch["video"])
    loss = lambda p: terms.class_cross_entropy(critics.apply(p, pictures).classes, batch["label"], smoothing)
    updates, state = tx.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state

  params = critics.init(jax.random.key(config.train.seed), jnp.zeros((1, 1, SIZE, SIZE, 1)))
  state = tx.init(params)
  batches = digit_batches(train, data.batch_size, data.seed, shift=data.shift)
  for _, batch in zip(range(steps), batches, strict=False):
    params, state = update(params, state, batch)
  return params
