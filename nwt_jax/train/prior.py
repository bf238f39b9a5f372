"""Stage 2 assembled: tokens, FAR or MAR, update, evaluation, export (2.2, C.2.2)."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nwt_jax import api, build
from nwt_jax.data.batches import long_enough, token_batches
from nwt_jax.data.clips import Clips
from nwt_jax.data.tokens import Tokens
from nwt_jax.errors import InputError
from nwt_jax.generate import style
from nwt_jax.io.checkpoint import save_release
from nwt_jax.objectives.prior import loss_weights, prior_loss
from nwt_jax.train import inputs
from nwt_jax.train.loop import Stage, start_from
from nwt_jax.train.pictures import write_grid, write_pairs
from nwt_jax.train.prior_step import PriorState, init_state, make_prior_loss, make_prior_step

CLIPS_FOR_WEIGHTS = 200  # training clips in which the places' rate of change is measured


def card(config: Any, metadata: dict, state: PriorState) -> dict:
  """The facts that travel with the weights."""
  return {
    "model": config.model.to_dict(),
    "dvae_sha256": metadata["dvae_sha256"],
    "episodes": metadata["episodes"],
    "video": dict(metadata["video"]),
    "audio": {"sample_rate": metadata["sample_rate"]},
    "frames": config.data.frames,
    "data": {"fingerprint": metadata["fingerprint"], "clips_fingerprint": metadata["clips_fingerprint"]},
    "training": {"steps": int(state.step), "config": config.to_json_best_effort()},
    "temperature": 1.0 if config.sample.temperature is None else config.sample.temperature,
    "generated": "Videos sampled from this model are generated.",
  }


def objective_options(objective: Any, tokens: Tokens, frames: int) -> dict:
  """What `prior_loss` takes, from a config's `objective`; weights of the places are measured in the training tokens."""
  options, power, first = {"style_kl_weight": objective.style_kl_weight}, objective.place_power, objective.first_frame
  if power or first != 1:
    changes, count = np.zeros((tokens.metadata["height"], tokens.metadata["width"])), 0
    for index in range(min(len(tokens), CLIPS_FOR_WEIGHTS)):
      codes = tokens[index]["codes"]
      changes += (codes[1:] != codes[:-1]).sum(axis=(0, 3))
      count += (len(codes) - 1) * codes.shape[-1]
    options["weights"] = loss_weights(jnp.asarray(changes / max(count, 1), jnp.float32), power, first, frames)
  return options


def first_windows(tokens: Tokens, count: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
  """The first frames of up to `count` clips that are long enough. Returns: codes [b t i j k], episode [b]."""
  chosen = long_enough(tokens, frames)[:count]
  windows = [tokens.window(clip, 0, frames) for clip in chosen]
  return np.stack([w["codes"] for w in windows]).astype(np.int32), np.array([w["episode"] for w in windows], np.int32)


def make_update(config: Any, prior, objective: Callable):
  """A prior's update.

  Args: objective: `prior_loss` with its options. Returns: the state at step 0, and (state, batch) -> (state, metrics).
  """
  options, tx = config.train, build.optimiser(config.optim)
  loss = make_prior_loss(
    prior, objective, config.objective.own_errors, config.objective.hidden_first, options.precision
  )
  initialise = jax.jit(lambda key: build.init_prior(prior, key), compiler_options=build.QUICK_COMPILE)
  params = start_from(options, config.family, initialise(jax.random.key(options.seed)))
  step = make_prior_step(loss, tx, options.seed, options.accumulate, options.ema_decay)
  return init_state(params, tx, options.ema_decay > 0), step


def make_stage(config: Any) -> Stage:
  """Everything the loop needs, from a config of family "far" or "mar".

  `data.path` is a token data set, `dvae` the release it was made with (default: the one that the tokens name).
  """
  tokens = Tokens(config.data.path, "train")
  metadata = tokens.metadata
  with config.unlocked():
    config.model.num_episodes = len(metadata["episodes"])
    config.dvae = config.dvae or metadata.get("dvae", "")
  if not config.dvae:
    raise InputError(f"no dVAE: the tokens in {config.data.path} name none; give its folder with --config.dvae")
  inputs.check_grid(config, metadata)
  inputs.check_dvae(config, metadata)
  prior = build.prior(config.family, config.model, config.train.remat)
  objective = functools.partial(prior_loss, **objective_options(config.objective, tokens, config.data.frames))
  state, step = make_update(config, prior, objective)

  def batches(first: int) -> Iterator[dict]:
    data = config.data
    iterator = token_batches(
      data.path, "train", data.batch_size, data.frames, data.seed, start_step=first,
      process_index=jax.process_index(), process_count=jax.process_count(), num_threads=data.num_threads,
    )  # fmt: skip
    for batch in iterator:
      yield {
        "codes": batch["codes"],
        "mel": np.asarray(batch["mel"], np.float32),
        "episode": np.asarray(batch["episode"], np.int32),
      }

  held_out = next((t for t in (Tokens(config.data.path, "validation"), tokens) if len(t)), tokens)
  judged = [i for i, row in enumerate(held_out.index) if row["frames"] >= config.data.frames][: config.eval.clips]
  judge = make_prior_loss(prior, objective, own_errors=0, hidden_first=0)
  evaluate_loss = jax.jit(lambda params, batch, key: judge(params, batch, key)[1])

  def evaluate(state: PriorState, folder: Path) -> dict[str, float]:
    """Losses on held-out clips, and speech_gain: by how many nats a frame a clip's own speech predicts its Memcodes
    better than the same speech moved by half a window; 0 where a prior has not learned when the lips move."""
    results, frames = [], config.data.frames
    for index in judged:
      clip = held_out[index]
      batch = {
        "codes": clip["codes"][None, :frames],
        "mel": clip["mel"][None, : prior.mel_stride * frames],
        "episode": np.full((1,), clip["episode"], np.int32),
      }
      key = jax.random.key(index)
      own, moved = (
        jax.device_get(evaluate_loss(state.prior, {**batch, "mel": np.roll(batch["mel"], shift, axis=1)}, key))
        for shift in (0, batch["mel"].shape[1] // 2)
      )
      gain = (moved["loss/ce"] - own["loss/ce"]) * batch["codes"][0, 0].size
      results.append({**own, "speech_gain": gain})
    metrics = {
      name: float(np.mean([r[name] for r in results]))
      for name in (results[0] if results else {})
      if results[0][name].ndim == 0
    }
    _pictures(config, folder)
    return metrics

  make_bank = jax.jit(functools.partial(style.bank, prior))
  style_windows = functools.cache(lambda: first_windows(tokens, config.sample.style_clips, config.data.frames))

  def export(state: PriorState, folder: Path) -> None:
    variables = dict(jax.device_get(state.prior))
    if config.sample.style_clips:
      variables["styles"] = jax.device_get(make_bank(variables, *style_windows()))
    save_release(
      folder, config.family, variables, card(config, metadata, state), config.train.export_dtype, dvae=config.dvae
    )

  return Stage(
    state=state,
    step=step,
    data=metadata["fingerprint"],
    batches=batches,
    evaluate=evaluate,
    export=export,
    show=("loss/ce", "loss/ce_first", "loss/style_kl", "accuracy", "grad_norm/prior"),
    warn=lambda metrics: None,
  )


def _pictures(config: Any, folder: Path) -> None:
  """Real beside sampled, from the exported files, so that what is looked at is what is shipped."""
  metadata = Tokens(config.data.path, "train").metadata
  try:
    clips = next(
      (c for c in (Clips(metadata["clips"], "validation"), Clips(metadata["clips"], "train")) if len(c)), None
    )
  except InputError:
    print(f"no pictures: the clips {metadata['clips']} are not there any more", flush=True)
    return
  model = api.NWT.from_checkpoint(folder.parent.parent / "export", config.family)
  pairs, audios = [], []
  for index in range(min(config.eval.clips, 4, len(clips))):
    clip = clips[index]
    real = clip["video"][: config.eval.frames]
    audio = clip["audio"][: round(len(real) * metadata["sample_rate"] / metadata["fps"])]
    episode = clips.episode_name(clip["episode"])
    chunks = model.generate(audio, rate=metadata["sample_rate"], seed=index, episode=episode)
    pairs.append((real, np.concatenate([chunk.frames for chunk in chunks])[: len(real)]))
    audios.append(audio)
  write_grid(folder / "real_above_sampled.png", [clip for pair in pairs for clip in pair])
  write_pairs(folder / "real_beside_sampled.mp4", pairs, audios, metadata["fps"])
