"""Stage 1 assembled: data, generator and critics, update, evaluation, export (2.1, C.1)."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nwt_jax import build
from nwt_jax.data.batches import long_enough, video_batches
from nwt_jax.data.clips import Clips, spread
from nwt_jax.errors import InputError
from nwt_jax.generate.render import from_pixels, make_decoder, make_draw, make_encoder
from nwt_jax.io.release import save_release
from nwt_jax.metrics.similarity import ssim
from nwt_jax.objectives.dvae import make_losses
from nwt_jax.train.loop import Stage, start_from
from nwt_jax.train.pictures import write_grid, write_pairs
from nwt_jax.train.preflight import inputs
from nwt_jax.train.runtime.precision import in_precision
from nwt_jax.train.stages.dvae_step import DVAEState, init_state, make_dvae_step

# Of the progress line
SHOW = ("loss/recon", "loss/pixel", "loss/kl", "loss/gradient_penalty", "codes/used", "codes/perplexity")

START_CLIPS, START_FRAMES = 16, 4  # of the windows that networks are initialised with


def card(config: Any, metadata: dict, state: DVAEState) -> dict:
  """The facts that travel with the weights."""
  return {
    "model": config.model.to_dict(),
    "episodes": metadata["episodes"],
    "video": {name: metadata[name] for name in ("fps", "height", "width")},
    "audio": {"sample_rate": metadata["sample_rate"]},
    "data": {"fingerprint": metadata["fingerprint"]},
    "training": {"steps": int(state.step), "config": config.to_json_best_effort()},
    "generated": "Pictures decoded by this model are generated.",
  }


def collapse_warning(num_codes: int, memcodes: int):
  """Builds metrics -> warning: a head that uses one code only, or less than a quarter of those that a batch could.

  Args: memcodes: at least so many are in a batch, or in a part of it where gradients are accumulated: codes are counted
    in parts.
  """
  wanted = max(min(2, memcodes), min(num_codes, memcodes) // 4)

  def warn(metrics: dict[str, float]) -> str | None:
    least = metrics["codes/used_min"]
    if least >= wanted:
      return None
    perplexity = (f"{value:.1f}" for name, value in metrics.items() if name.startswith("codes/perplexity_by_head"))
    return (
      f"codebook collapse: a head uses {least:.0f} of {num_codes} codes; perplexity by head {' '.join(perplexity)} "
      "(see models.memcodes.Query)"
    )

  return warn


def starting_windows(clips: Clips, frames: int) -> np.ndarray:
  """Short windows from all over the clips: what networks are initialised with. Returns: uint8 [b t h w 3]."""
  frames = min(frames, START_FRAMES)
  chosen = spread(clips.index, START_CLIPS, frames, long_enough(clips, frames))
  windows = [clips.window(clip, start, frames)["video"] for clip, start in chosen]
  return np.stack([windows[number % len(windows)] for number in range(START_CLIPS)])


def make_update(config: Any, model, first: np.ndarray | jax.Array, critic: dict | None = None):
  """Networks and their update, for clips or pictures.

  Args: model: the generator. first: frames to initialise with, uint8 [b t h w c] (see models.memcodes.Query). critic:
    parameters for the critics instead of fresh ones.
  Returns: the state at step 0, and (state, batch) -> (state, metrics).
  Raises: InputError: an objective that the data or the critics cannot serve.
  """
  weights = build.weights(config.objective)
  if weights.critics == "frozen" and critic is None:
    raise InputError("--config.objective.critics=frozen needs pretrained critics, which only the MNIST study has")
  if weights.class_weight and not config.num_classes:
    raise InputError("--config.objective.class_weight needs clips with classes, which only MNIST has; set it to 0")
  critics = build.critics(config.critics, config.num_classes)

  @functools.partial(jax.jit, compiler_options=build.QUICK_COMPILE)
  def initialise(key, first):
    key_gen, key_critic = jax.random.split(key)
    video, episode = from_pixels(first), jnp.zeros(first.shape[:2], jnp.int32)
    gen = model.init(key_gen, video, episode, key_gen, weights.sampler)
    return gen, critics.init(key_critic, video[:1]) if weights.reconstruction != "pixels" else {}

  tx_gen, tx_critic = build.optimiser(config.optim.gen), build.optimiser(config.optim.critic)
  options = config.train
  losses = make_losses(*(in_precision(net.apply, options.precision) for net in (model, critics)), weights)
  step = make_dvae_step(
    losses, tx_gen, tx_critic, options.seed, options.update_order, options.critic_steps, options.accumulate,
    options.ema_decay,
  )  # fmt: skip
  gen, fresh = initialise(jax.random.key(options.seed), first)
  gen, critic = start_from(options, "dvae", gen), fresh if critic is None else critic
  return init_state(gen, critic, tx_gen, tx_critic, options.ema_decay > 0), step


def make_stage(config: Any) -> Stage:
  """Everything the loop needs, from a config with `family = "dvae"` whose `data.path` is a prepared data set."""
  train_clips = Clips(config.data.path, "train")
  metadata = train_clips.metadata
  with config.unlocked():
    config.model.num_episodes = len(metadata["episodes"])
  model = build.dvae(config.model, config.train.remat)
  inputs.check_frames(config, metadata)
  state, step = make_update(config, model, starting_windows(train_clips, config.data.frames))

  def batches(first: int) -> Iterator[dict]:
    data = config.data
    iterator = video_batches(
      data.path, "train", data.batch_size, data.frames, data.seed, start_step=first,
      process_index=jax.process_index(), process_count=jax.process_count(), num_threads=data.num_threads,
    )  # fmt: skip
    return ({"video": b["video"], "episode": np.asarray(b["episode"], np.int32)} for b in iterator)

  encode = make_encoder(lambda p, v, valid: model.apply(p, v, valid, method="encode"), model.encoder_margins)
  draw = make_draw(lambda p, c, e, valid: model.apply(p, c, e, valid, method="decode"), model.decoder_margins)
  decode = make_decoder(draw, model.decoder_margins)
  held_out = Clips.held_out(config.data.path).excerpts(config.eval.clips, config.eval.frames)

  def evaluate(state: DVAEState, folder: Path) -> dict[str, float]:
    pairs, ssims = [], []
    for clip in held_out:
      real = clip["video"]
      codes = encode(state.gen, real[None], config.eval.chunk_frames)
      episodes = np.full(codes.shape[:2], clip["episode"], np.int32)
      recon = decode(state.gen, codes, episodes, config.eval.chunk_frames)[0]
      ssims.append(float(np.mean(ssim(real, recon))))
      pairs.append((real, recon))
    result = {
      "ssim": float(np.mean(ssims)),
      "ssim_min": float(np.min(ssims)),
    }
    write_grid(folder / "real_above_reconstruction.png", [clip for pair in pairs[:4] for clip in pair])
    write_pairs(
      folder / "real_beside_reconstruction.mp4", pairs[:4], [c["audio"] for c in held_out[:4]], metadata["fps"]
    )
    return result

  def export(state: DVAEState, folder: Path) -> None:
    save_release(folder, "dvae", jax.device_get(state.gen), card(config, metadata, state), config.train.export_dtype)

  clips = config.data.batch_size // config.train.accumulate
  return Stage(
    state=state,
    step=step,
    data=metadata["fingerprint"],
    batches=batches,
    evaluate=evaluate,
    export=export,
    show=SHOW,
    warn=collapse_warning(config.model.num_codes, clips * config.data.frames),
  )
