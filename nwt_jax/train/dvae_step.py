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

ORDERS = ("joint", "alternate")


@struct.dataclass
class DVAEState:
  """Everything that an update reads and writes."""

  step: Any
  gen: Any
  critic: Any
  opt_gen: Any
  opt_critic: Any


def init_state(gen: Any, critic: Any, tx_gen: optax.GradientTransformation, tx_critic: optax.GradientTransformation):
  """A state at step 0 for given parameters."""
  return DVAEState(jnp.zeros((), jnp.int32), gen, critic, tx_gen.init(gen), tx_critic.init(critic))


def prepare(batch: dict) -> tuple[Array, Array, Array | None]:
  """uint8 frames to [-1, 1] (D.9), one episode a clip to one a frame, and classes where clips have them (A.2)."""
  video = from_pixels(batch["video"])
  return video, repeat(batch["episode"], "b -> b t", t=video.shape[1]), batch.get("label")


def make_dvae_step(
  losses: Callable, tx_gen, tx_critic, seed: int, update_order: str = "joint", critic_steps: int = 1
) -> Callable:
  """Builds (state, batch) -> (state, metrics).

  Args: losses: of `objectives.dvae.make_losses`. update_order: "joint" takes both gradients at the same parameters in
    one pass (Alg. 2); "alternate" updates the critics `critic_steps` times, each with noise of its own, and then the
    generator against the new critics.
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

  def joint(state: DVAEState, batch: dict):
    inputs = prepare(batch)
    key = jax.random.fold_in(jax.random.key(seed), state.step)

    def total(gen, critic):
      # l_gen sees stopped critics and l_critic a stopped recon, so one backward pass gives Algorithm 2's gradients
      l_gen, l_critic, metrics = losses(gen, critic, *inputs, key, state.step)
      return l_gen + l_critic, metrics

    (g_gen, g_critic), metrics = jax.grad(total, argnums=(0, 1), has_aux=True)(state.gen, state.critic)
    gen, opt_gen = apply(tx_gen, g_gen, state.opt_gen, state.gen)
    critic, opt_critic = apply(tx_critic, g_critic, state.opt_critic, state.critic)
    metrics |= {"grad_norm/gen": optax.tree.norm(g_gen), "grad_norm/critic": optax.tree.norm(g_critic)}
    return DVAEState(state.step + 1, gen, critic, opt_gen, opt_critic), metrics

  def alternate(state: DVAEState, batch: dict):
    inputs = prepare(batch)
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    critic, opt_critic, metrics = state.critic, state.opt_critic, {}
    for turn in range(critic_steps):

      def critic_total(params, turn=turn):
        _, l_critic, metrics = losses(state.gen, params, *inputs, jax.random.fold_in(key, turn), state.step)
        return l_critic, metrics

      g_critic, metrics = jax.grad(critic_total, has_aux=True)(critic)
      critic, opt_critic = apply(tx_critic, g_critic, opt_critic, critic)

    def gen_total(params):
      l_gen, _, metrics = losses(params, critic, *inputs, key, state.step)
      return l_gen, metrics

    g_gen, gen_metrics = jax.grad(gen_total, has_aux=True)(state.gen)
    gen, opt_gen = apply(tx_gen, g_gen, state.opt_gen, state.gen)
    critic_keys = ("loss/wasserstein", "loss/gradient_penalty", "loss/class", "class/error", "loss/critic")
    metrics = gen_metrics | {name: metrics[name] for name in critic_keys if name in metrics}
    metrics |= {"grad_norm/gen": optax.tree.norm(g_gen), "grad_norm/critic": optax.tree.norm(g_critic)}
    return DVAEState(state.step + 1, gen, critic, opt_gen, opt_critic), metrics

  return joint if update_order == "joint" else alternate
