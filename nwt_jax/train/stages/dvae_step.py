"""One update of stage 1: critics and generator together, or in turns (Alg. 2)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from einops import repeat
from flax import struct
from jaxtyping import Array

from nwt_jax.errors import InputError
from nwt_jax.generate.render import from_pixels
from nwt_jax.train.preflight.values import ORDERS
from nwt_jax.train.runtime.accumulate import accumulated
from nwt_jax.train.runtime.health import skipped


@struct.dataclass
class DVAEState:
  """Everything that an update reads and writes."""

  step: Any
  gen: Any
  critic: Any
  opt_gen: Any
  opt_critic: Any
  ema: Any = None  # moving average of `gen`, where the config asks for one

  def shown(self) -> "DVAEState":
    """What is evaluated and released: no optimisers, and the moving average as the generator where there is one."""
    gen = self.gen if self.ema is None else self.ema
    return self.replace(gen=gen, ema=None, opt_gen=None, opt_critic=None)


def init_state(gen: Any, critic: Any, tx_gen, tx_critic, ema: bool = False) -> DVAEState:
  """A state at step 0 for given parameters."""
  average = jax.tree.map(jnp.copy, gen) if ema else None
  return DVAEState(jnp.zeros((), jnp.int32), gen, critic, tx_gen.init(gen), tx_critic.init(critic), average)


def prepare(batch: dict) -> tuple[Array, Array, Array | None]:
  """uint8 frames to [-1, 1] (D.9), one episode a clip to one a frame, and classes where clips have them (A.2)."""
  video = from_pixels(batch["video"])
  return video, repeat(batch["episode"], "b -> b t", t=video.shape[1]), batch.get("label")


def make_dvae_step(
  losses: Callable,
  tx_gen,
  tx_critic,
  seed: int,
  update_order: str = "joint",
  critic_steps: int = 1,
  parts: int = 1,
  ema_decay: float = 0.0,
) -> Callable:
  """Builds (state, batch) -> (state, metrics).

  Args: losses: of `objectives.dvae.make_losses`. update_order: "joint" takes both gradients at the same parameters in
    one pass (Alg. 2); "alternate" updates the critics `critic_steps` times, each with noise of its own, and then the
    generator against the new critics. parts: of the batch, whose gradients are accumulated. ema_decay: of the
    generator's moving average, for a state that has one.
  """
  if update_order not in ORDERS:
    raise InputError(f"update_order {update_order!r} is unknown; choose one of {', '.join(ORDERS)}")
  if update_order == "joint" and critic_steps != 1:
    raise InputError(
      f"critic_steps is {critic_steps} with joint updates, which take one; set update_order to 'alternate'"
    )

  def apply(tx, grads, state, params):
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state

  def gradient_of(loss: Callable, params):
    """The gradient of loss(params, inputs, key) by `params`, and the loss's metrics, of a whole batch."""

    def one_part(batch, key):
      return jax.grad(lambda p: loss(p, prepare(batch), key), has_aux=True)(params)

    return accumulated(one_part, parts)

  def advance(state: DVAEState, updated: tuple, grads: tuple, metrics: dict):
    gen, critic, opt_gen, opt_critic = updated
    ema = None if state.ema is None else optax.incremental_update(gen, state.ema, 1 - ema_decay)
    metrics |= {"grad_norm/gen": optax.tree.norm(grads[0]), "grad_norm/critic": optax.tree.norm(grads[1])}
    return DVAEState(state.step + 1, gen, critic, opt_gen, opt_critic, ema), metrics | skipped(opt_gen, opt_critic)

  def joint(state: DVAEState, batch: dict):
    def total(params, inputs, key):
      # l_gen sees stopped critics and l_critic a stopped recon, so one backward pass gives Algorithm 2's gradients
      l_gen, l_critic, metrics = losses(*params, *inputs, key, state.step)
      return l_gen + l_critic, metrics

    key = jax.random.fold_in(jax.random.key(seed), state.step)
    (g_gen, g_critic), metrics = gradient_of(total, (state.gen, state.critic))(batch, key)
    gen, opt_gen = apply(tx_gen, g_gen, state.opt_gen, state.gen)
    critic, opt_critic = apply(tx_critic, g_critic, state.opt_critic, state.critic)
    return advance(state, (gen, critic, opt_gen, opt_critic), (g_gen, g_critic), metrics)

  def alternate(state: DVAEState, batch: dict):
    def critic_total(params, inputs, key):
      _, l_critic, metrics = losses(state.gen, params, *inputs, key, state.step)
      return l_critic, metrics

    def gen_total(params, inputs, key):
      l_gen, _, metrics = losses(params, critic, *inputs, key, state.step)
      return l_gen, metrics

    key = jax.random.fold_in(jax.random.key(seed), state.step)
    critic, opt_critic, metrics = state.critic, state.opt_critic, {}
    for turn in range(critic_steps):
      g_critic, metrics = gradient_of(critic_total, critic)(batch, jax.random.fold_in(key, turn))
      critic, opt_critic = apply(tx_critic, g_critic, opt_critic, critic)
    g_gen, gen_metrics = gradient_of(gen_total, state.gen)(batch, key)
    gen, opt_gen = apply(tx_gen, g_gen, state.opt_gen, state.gen)
    critic_keys = ("loss/wasserstein", "loss/gradient_penalty", "loss/class", "class/error", "loss/critic")
    metrics = gen_metrics | {name: metrics[name] for name in critic_keys if name in metrics}
    return advance(state, (gen, critic, opt_gen, opt_critic), (g_gen, g_critic), metrics)

  return joint if update_order == "joint" else alternate
