"""One update of stage 2: cross-entropy of the Memcodes given speech, style and episode (2.2.1, B.2.2)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from einops import repeat
from flax import struct
from jaxtyping import Array


@struct.dataclass
class PriorState:
  """Everything that an update reads and writes."""

  step: Any
  prior: Any
  opt: Any


def init_state(params: Any, tx: optax.GradientTransformation) -> PriorState:
  """A state at step 0 for given parameters."""
  return PriorState(jnp.zeros((), jnp.int32), params, tx.init(params))


def make_prior_loss(prior, objective: Callable) -> Callable:
  """Binds a FAR or MAR module: loss(params, batch, key) -> (loss, metrics), style drawn from its posterior."""

  def loss(params, batch: dict, key: Array):
    codes = batch["codes"].astype(jnp.int32)
    episode = repeat(batch["episode"], "b -> b t", t=codes.shape[1])
    noise = jax.random.normal(key, (codes.shape[0], prior.style_dim))
    logits, mean, log_std = prior.apply(params, codes, batch["mel"], episode, noise, method="reconstruct")
    return objective(logits, codes, mean, log_std)

  return loss


def make_prior_step(loss: Callable, tx: optax.GradientTransformation, seed: int) -> Callable:
  """Builds (state, batch) -> (state, metrics)."""

  def step(state: PriorState, batch: dict):
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    grads, metrics = jax.grad(loss, has_aux=True)(state.prior, batch, key)
    updates, opt = tx.update(grads, state.opt, state.prior)
    metrics |= {"grad_norm/prior": optax.tree.norm(grads)}
    return PriorState(state.step + 1, optax.apply_updates(state.prior, updates), opt), metrics

  return step
