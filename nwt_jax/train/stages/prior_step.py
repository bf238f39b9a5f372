"""One update of stage 2: cross-entropy of the Memcodes given speech, style and episode (2.2.1, B.2.2)."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from einops import repeat
from flax import struct
from jaxtyping import Array

from nwt_jax.train.runtime.accumulate import accumulated
from nwt_jax.train.runtime.health import skipped
from nwt_jax.train.runtime.precision import in_precision
from nwt_jax.types import Codes, Logits


@struct.dataclass
class PriorState:
  """Everything that an update reads and writes."""

  step: Any
  prior: Any
  opt: Any
  ema: Any = None  # moving average of `prior`, where the config asks for one

  def shown(self) -> "PriorState":
    """What is evaluated and released: no optimiser, and the moving average as the prior where there is one."""
    return self.replace(prior=self.prior if self.ema is None else self.ema, ema=None, opt=None)


def init_state(params: Any, tx: optax.GradientTransformation, ema: bool = False) -> PriorState:
  """A state at step 0 for given parameters."""
  average = jax.tree.map(jnp.copy, params) if ema else None
  return PriorState(jnp.zeros((), jnp.int32), params, tx.init(params), average)


def with_own_errors(codes: Codes, guesses: Logits, key: Array, share: float) -> Codes:
  """Clips as a prior's own samples may look: some symbols are its guesses, the same ones from frame to frame.

  Args: guesses: logits of a prior that sees no history, as at the start of a clip. share: of the clips to change.
  Returns: codes in which, in such a clip, a random share of the heads is guessed up to a random frame, or to its end.
  """
  clips, frames = codes.shape[:2]
  changed, rate, until, head, draw = jax.random.split(key, 5)
  each = lambda key: jax.random.uniform(key, (clips, 1, 1, 1, 1))
  one_draw = jax.random.gumbel(draw, (clips, 1, *guesses.shape[2:]))  # what is wrong stays wrong, as copies do
  wrong = jax.random.uniform(head, (clips, 1, *codes.shape[2:])) < jnp.where(each(changed) < share, each(rate), 0)
  early = jnp.arange(frames).reshape(1, frames, 1, 1, 1) < 1.5 * frames * each(until)
  return jnp.where(wrong & early, jnp.argmax(guesses + one_draw, axis=-1), codes)


def without_first(history: Codes, empty: int, key: Array, share: float) -> Codes:
  """Hides the first frame of a share of the clips: its symbols become code `empty`, the one of no Memcode.

  Args: history: [b t i j k]. share: of the clips. Known as word dropout (Bowman et al. 2016, arXiv 1511.06349)."""
  hidden = jax.random.uniform(key, (history.shape[0], 1, 1, 1)) < share
  return history.at[:, 0].set(jnp.where(hidden, empty, history[:, 0]))


def make_prior_loss(
  prior, objective: Callable, own_errors: float, hidden_first: float, precision: str = "float32"
) -> Callable:
  """Binds a FAR or MAR module: loss(params, batch, key) -> (loss, metrics), style drawn from its posterior.

  Args: own_errors: share of the clips whose history holds the prior's own guesses (`with_own_errors`). DEPARTS: the
    paper's priors see true Memcodes alone. A small one that has learned to carry frames over then never repairs what
    it sampled wrong at the start of a clip. hidden_first: share of the clips whose first frame is not in the history
    (`without_first`). DEPARTS: a MAR that reads a first frame's Memcodes one after another needs no style for them.
    precision: see `train.precision`."""
  apply = in_precision(prior.apply, precision)

  def loss(params, batch: dict, key: Array):
    codes = batch["codes"].astype(jnp.int32)
    heard = {"mel": batch["mel"], "valid": batch.get("valid")}  # of these frames, or with `reach` around them
    episode = repeat(batch["episode"], "b -> b w", w=heard["mel"].shape[1] // prior.mel_stride)
    noise = jax.random.normal(key, (codes.shape[0], prior.style_dim))
    forward = functools.partial(apply, codes=codes, **heard, episode=episode, noise=noise, method="reconstruct")
    history = None
    if own_errors:
      guesses = forward(jax.lax.stop_gradient(params), history=jnp.full_like(codes, prior.num_codes))[0]
      history = with_own_errors(codes, guesses, jax.random.fold_in(key, 1), own_errors)
    if hidden_first:
      history = codes if history is None else history
      history = without_first(history, prior.num_codes, jax.random.fold_in(key, 2), hidden_first)
    logits, mean, log_std = forward(params, history=history)
    return objective(logits, codes, mean, log_std)

  return loss


def make_prior_step(
  loss: Callable, tx: optax.GradientTransformation, seed: int, parts: int = 1, ema_decay: float = 0.0
) -> Callable:
  """Builds (state, batch) -> (state, metrics).

  Args: parts: of the batch, whose gradients are accumulated. ema_decay: of the moving average, for a state with one.
  """

  def step(state: PriorState, batch: dict):
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    gradient = accumulated(lambda batch, key: jax.grad(loss, has_aux=True)(state.prior, batch, key), parts)
    grads, metrics = gradient(batch, key)
    updates, opt = tx.update(grads, state.opt, state.prior)
    prior = optax.apply_updates(state.prior, updates)
    ema = None if state.ema is None else optax.incremental_update(prior, state.ema, 1 - ema_decay)
    metrics |= {"grad_norm/prior": optax.tree.norm(grads), **skipped(opt)}
    return PriorState(state.step + 1, prior, opt, ema), metrics

  return step
