"""One update of stage 2: cross-entropy of the Memcodes given speech, style and episode (2.2.1, B.2.2)."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from einops import repeat
from flax import struct
from jaxtyping import Array

from nwt_jax import build
from nwt_jax.models.prior import Prior
from nwt_jax.objectives.prior import loss_weights, prior_loss
from nwt_jax.train.runtime.accumulate import accumulate_gradients
from nwt_jax.train.runtime.health import skipped_updates
from nwt_jax.train.runtime.precision import with_precision
from nwt_jax.train.stages.initial import initial_params
from nwt_jax.train.stages.prior_history import corrupt_history, drop_first_frame


@struct.dataclass
class PriorState:
  """Everything that an update reads and writes."""

  step: Any
  prior: Any
  opt: Any
  ema: Any = None  # moving average of `prior`, where the config asks for one

  def for_release(self) -> "PriorState":
    """Returns the part that is evaluated and exported: the prior or, where there is one, its moving average."""
    return self.replace(prior=self.prior if self.ema is None else self.ema, ema=None, opt=None)  # ty: ignore[missing-attribute]


def init_state(params: Any, tx: optax.GradientTransformation, ema: bool = False) -> PriorState:
  """Returns a state at step 0 for given parameters."""
  average = jax.tree.map(jnp.copy, params) if ema else None
  return PriorState(jnp.zeros((), jnp.int32), params, tx.init(params), average)


def make_objective(options: Any, change_rate: Callable[[], np.ndarray], frames: int) -> Callable:
  """Binds `prior_loss` to a config's `objective`.

  Args: change_rate: measures how often each position changes, [i j]; it is called where positions weigh differently.
    frames: length of a training window.
  """
  bound = {"style_kl_weight": options.style_kl_weight}
  if options.change_weighting or options.first_frame_weight != 1:
    rate = jnp.asarray(change_rate(), jnp.float32)
    bound["weights"] = loss_weights(rate, options.change_weighting, options.first_frame_weight, frames)
  return functools.partial(prior_loss, **bound)


def make_update(config: Any, prior: Prior, objective: Callable) -> tuple[PriorState, Callable]:
  """Draws a prior's parameters and builds its update.

  Args: objective: see `make_objective`. Returns: the state at step 0, and (state, batch) -> (state, metrics).
  """
  options, tx = config.train, build.optimiser(config.optim)
  loss = make_prior_loss(
    prior, objective, config.objective.history_corruption, config.objective.first_frame_dropout, options.precision
  )
  initialise = jax.jit(lambda key: build.init_prior(prior, key), compiler_options=build.QUICK_COMPILE)
  params = initial_params(options, config.family, initialise(jax.random.key(options.seed)))
  step = make_prior_step(loss, tx, options.seed, options.accumulate, options.ema_decay)
  return init_state(params, tx, options.ema_decay > 0), step


def make_prior_loss(
  prior: Prior,
  objective: Callable,
  history_corruption: float,
  first_frame_dropout: float,
  precision: str = "float32",
) -> Callable:
  """Builds loss(params, batch, key) -> (loss, metrics) of a FAR or MAR module; styles are drawn from the posterior.

  DEPARTS: the paper's priors are trained on true Memcodes alone. That causes exposure bias: a small prior that has
  learned to copy the frame before never corrects an error that it sampled at the start of a clip; training on its own
  guesses counters that. DEPARTS: in MAR, teacher forcing makes the style latent redundant, because the true Memcodes of
  the first frame already show the style. Dropping that frame from the history forces MAR to use the latent.

  Args: objective: see `make_objective`. history_corruption: share of the clips with the prior's own guesses in the
    history (`corrupt_history`). first_frame_dropout: share of the clips without the first frame in the history
    (`drop_first_frame`). precision: see `train.runtime.precision`."""
  apply = with_precision(prior.apply, precision)

  def loss(params, batch: dict, key: Array):
    codes = batch["codes"].astype(jnp.int32)
    speech = {"mel": batch["mel"], "valid": batch.get("valid")}  # covers these frames, or margins around them too
    episode = repeat(batch["episode"], "b -> b w", w=speech["mel"].shape[1] // prior.mel_stride)
    noise = jax.random.normal(key, (codes.shape[0], prior.style_dim))
    forward = functools.partial(apply, codes=codes, **speech, episode=episode, noise=noise, method="reconstruct")
    history = None
    if history_corruption:
      guesses = forward(jax.lax.stop_gradient(params), history=jnp.full_like(codes, prior.num_codes))[0]
      history = corrupt_history(codes, guesses, jax.random.fold_in(key, 1), history_corruption)
    if first_frame_dropout:
      history = codes if history is None else history
      history = drop_first_frame(history, prior.num_codes, jax.random.fold_in(key, 2), first_frame_dropout)
    logits, mean, log_std = forward(params, history=history)
    return objective(logits, codes, mean, log_std)

  return loss


def make_prior_step(
  loss: Callable, tx: optax.GradientTransformation, seed: int, parts: int = 1, ema_decay: float = 0.0
) -> Callable:
  """Builds (state, batch) -> (state, metrics).

  Args: loss: see `make_prior_loss`. seed: seeds the noise of all steps. parts: number of parts of a batch; their
    gradients are accumulated. ema_decay: decay of the moving average, for a state with one.
  """

  def step(state: PriorState, batch: dict) -> tuple[PriorState, dict]:
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    gradient = accumulate_gradients(lambda batch, key: jax.grad(loss, has_aux=True)(state.prior, batch, key), parts)
    grads, metrics = gradient(batch, key)
    updates, opt = tx.update(grads, state.opt, state.prior)
    prior = optax.apply_updates(state.prior, updates)
    ema = None if state.ema is None else optax.incremental_update(prior, state.ema, 1 - ema_decay)
    metrics |= {"grad_norm/prior": optax.tree.norm(grads), **skipped_updates(opt)}
    return PriorState(state.step + 1, prior, opt, ema), metrics

  return step
