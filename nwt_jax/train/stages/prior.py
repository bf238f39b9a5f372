"""Stage 2 assembled: tokens, FAR or MAR, update, evaluation, export (2.2, C.2.2)."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nwt_jax import build
from nwt_jax.api import model as api
from nwt_jax.data.batches import long_enough, token_batches
from nwt_jax.data.clips import Clips, spread
from nwt_jax.data.tokens import Tokens
from nwt_jax.generate import style
from nwt_jax.io.release import save_release
from nwt_jax.objectives.prior import loss_weights, prior_loss
from nwt_jax.train.lineage import find_clips, find_dvae
from nwt_jax.train.loop import Stage, start_from
from nwt_jax.train.pictures import write_grid, write_pairs
from nwt_jax.train.preflight import inputs
from nwt_jax.train.stages.prior_step import PriorState, init_state, make_prior_loss, make_prior_step

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
    "sampler": metadata.get("sampler", "argmax"),  # of the Memcodes; what has none was made before samplers were told
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
    for clip, _ in spread(tokens.index, CLIPS_FOR_WEIGHTS, frames):
      codes = tokens[clip]["codes"]
      changes += (codes[1:] != codes[:-1]).sum(axis=(0, 3))
      count += (len(codes) - 1) * codes.shape[-1]
    options["weights"] = loss_weights(jnp.asarray(changes / max(count, 1), jnp.float32), power, first, frames)
  return options


def style_windows(tokens: Tokens, count: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
  """Windows of up to `count` clips that are long enough, from all over. Returns: codes [b t i j k], episode [b]."""
  chosen = spread(tokens.index, count, frames, long_enough(tokens, frames))
  windows = [tokens.window(clip, start, frames) for clip, start in chosen]
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

  `data.path` is a token data set. `dvae`, the release that it was made with, and `data.clips`, for pictures, are found
  by what the tokens tell where they are not given.
  """
  tokens = Tokens(config.data.path, "train")
  metadata = tokens.metadata
  with config.unlocked():
    config.model.num_episodes = len(metadata["episodes"])
  inputs.check_grid(config, metadata)
  dvae, clips = find_dvae(config, metadata), find_clips(config, metadata)
  prior = build.prior(config.family, config.model, config.train.remat)
  objective = functools.partial(prior_loss, **objective_options(config.objective, tokens, config.data.frames))
  state, step = make_update(config, prior, objective)

  around = prior.reach if config.data.mel_margins else (0, 0)
  # Without margins every frame is inside its clip
  read = ("codes", "mel", "valid", "episode") if config.data.mel_margins else ("codes", "mel", "episode")

  def batches(first: int) -> Iterator[dict]:
    data = config.data
    iterator = token_batches(
      data.path, "train", data.batch_size, data.frames, data.seed, start_step=first,
      process_index=jax.process_index(), process_count=jax.process_count(), num_threads=data.num_threads,
      around=around,
    )  # fmt: skip
    return ({name: batch[name] for name in read} for batch in iterator)

  held_out = Tokens.held_out(config.data.path)
  fit = [clip for clip, row in enumerate(held_out.index) if row["frames"] >= config.data.frames]
  judged = spread(held_out.index, config.eval.clips, config.data.frames, fit)
  judge = make_prior_loss(prior, objective, own_errors=0, hidden_first=0)
  evaluate_loss = jax.jit(lambda params, batch, key: judge(params, batch, key)[1])

  def evaluate(state: PriorState, folder: Path) -> dict[str, float]:
    """Losses on held-out clips, and speech_gain: by how many nats a frame a clip's own speech predicts its Memcodes
    better than the same speech moved by half a window; 0 where a prior has not learned when the lips move."""
    results = []
    for clip, start in judged:
      window = held_out.window(clip, start, config.data.frames, around)
      batch, heard = {name: window[name][None] for name in read}, np.repeat(window["valid"] > 0, prior.mel_stride)
      other = np.copy(batch["mel"])
      other[:, heard] = np.roll(other[:, heard], prior.mel_stride * config.data.frames // 2, axis=1)
      key = jax.random.key(clip)
      own, moved = (
        jax.device_get(evaluate_loss(state.prior, {**batch, "mel": mel}, key)) for mel in (batch["mel"], other)
      )
      gain = (moved["loss/ce"] - own["loss/ce"]) * batch["codes"][0, 0].size
      results.append({**own, "speech_gain": gain})
    metrics = {
      name: float(np.mean([r[name] for r in results]))
      for name in (results[0] if results else {})
      if results[0][name].ndim == 0
    }
    if clips is not None:
      _pictures(config, clips, folder)
    return metrics

  make_bank = jax.jit(functools.partial(style.bank, prior))
  windows = functools.cache(lambda: style_windows(tokens, config.sample.style_clips, config.data.frames))

  def export(state: PriorState, folder: Path) -> None:
    variables = dict(jax.device_get(state.prior))
    if config.sample.style_clips:
      variables["styles"] = jax.device_get(make_bank(variables, *windows()))
    save_release(folder, config.family, variables, card(config, metadata, state), config.train.export_dtype, dvae=dvae)

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


def _pictures(config: Any, clips: Clips, folder: Path) -> None:
  """Real beside sampled, from the exported files, so that what is looked at is what is shipped."""
  rate, fps = clips.metadata["sample_rate"], clips.metadata["fps"]
  model = api.NWT.from_checkpoint(folder.parent.parent / "export", config.family)
  pairs, audios = [], []
  for index, clip in enumerate(clips.excerpts(min(config.eval.clips, 4), config.eval.frames)):
    real, episode = clip["video"], clips.episode_name(clip["episode"])
    chunks = model.generate(clip["audio"], rate=rate, seed=index, episode=episode)
    pairs.append((real, np.concatenate([chunk.frames for chunk in chunks])[: len(real)]))
    audios.append(clip["audio"])
  write_grid(folder / "real_above_sampled.png", [clip for pair in pairs for clip in pair])
  write_pairs(folder / "real_beside_sampled.mp4", pairs, audios, fps)
