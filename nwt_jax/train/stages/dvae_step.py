"""One update of stage 1: critics and generator together, or in turns (Alg. 2)."""

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
from nwt_jax.errors import ConfigError
from nwt_jax.generate.render import from_pixels
from nwt_jax.models.dvae import DVAE
from nwt_jax.objectives.dvae import make_losses
from nwt_jax.train.preflight.values import ORDERS
from nwt_jax.train.runtime.accumulate import accumulate_gradients
from nwt_jax.train.runtime.health import skipped_updates
from nwt_jax.train.runtime.precision import with_precision
from nwt_jax.train.stages.initial import initial_params


@struct.dataclass
class DVAEState:
  """Everything that an update reads and writes."""

  step: Any
  gen: Any
  critic: Any
  opt_gen: Any
  opt_critic: Any
  ema: Any = None  # moving average of `gen`, where the config asks for one

  def for_release(self) -> "DVAEState":
    """Returns the part that is evaluated and exported: the generator, or its moving average if any, and the critics."""
    gen = self.gen if self.ema is None else self.ema
    return self.replace(gen=gen, ema=None, opt_gen=None, opt_critic=None)  # ty: ignore[missing-attribute]


def init_state(
  gen: Any,
  critic: Any,
  tx_gen: optax.GradientTransformation,
  tx_critic: optax.GradientTransformation,
  ema: bool = False,
) -> DVAEState:
  """Returns a state at step 0 for given parameters."""
  average = jax.tree.map(jnp.copy, gen) if ema else None
  return DVAEState(jnp.zeros((), jnp.int32), gen, critic, tx_gen.init(gen), tx_critic.init(critic), average)


def prepare(batch: dict) -> tuple[Array, Array, Array | None]:
  """Returns video in [-1, 1] (D.9), the episode of every frame, and classes where clips have them (A.2)."""
  video = from_pixels(batch["video"])
  return video, repeat(batch["episode"], "b -> b t", t=video.shape[1]), batch.get("label")


def make_update(
  config: Any, model: DVAE, first: np.ndarray | jax.Array, critic: dict | None = None
) -> tuple[DVAEState, Callable]:
  """Draws the networks' parameters and builds their update, for clips or pictures.

  Args: model: the generator. first: frames to initialise with, uint8 [b t h w c] (see models.memcodes.Query). critic:
    parameters for the critics instead of fresh ones.
  Returns: the state at step 0, and (state, batch) -> (state, metrics).
  Raises: InputError: an objective that the data or the critics cannot serve.
  """
  weights = build.dvae_loss_weights(config.objective)
  if weights.critics == "frozen" and critic is None:
    raise ConfigError("--config.objective.critics=frozen needs pretrained critics, which only the MNIST study has")
  if weights.class_weight and not config.num_classes:
    raise ConfigError("--config.objective.class_weight needs clips with classes, which only MNIST has; set it to 0")
  critics = build.critics(config.critics, config.num_classes)

  @functools.partial(jax.jit, compiler_options=build.QUICK_COMPILE)
  def initialise(key, first):
    key_gen, key_critic = jax.random.split(key)
    video, episode = from_pixels(first), jnp.zeros(first.shape[:2], jnp.int32)
    gen = model.init(key_gen, video, episode, key_gen, weights.sampler)
    return gen, critics.init(key_critic, video[:1]) if weights.reconstruction != "pixels" else {}

  tx_gen, tx_critic = build.optimiser(config.optim.gen), build.optimiser(config.optim.critic)
  options = config.train
  losses = make_losses(*(with_precision(net.apply, options.precision) for net in (model, critics)), weights)
  step = make_dvae_step(
    losses, tx_gen, tx_critic, options.seed, options.update_order, options.critic_steps, options.accumulate,
    options.ema_decay,
  )  # fmt: skip
  gen, drawn = initialise(jax.random.key(options.seed), first)
  gen, critic = initial_params(options, "dvae", gen), drawn if critic is None else critic
  return init_state(gen, critic, tx_gen, tx_critic, options.ema_decay > 0), step


def make_dvae_step(
  losses: Callable,
  tx_gen: optax.GradientTransformation,
  tx_critic: optax.GradientTransformation,
  seed: int,
  update_order: str = "joint",
  critic_steps: int = 1,
  parts: int = 1,
  ema_decay: float = 0.0,
) -> Callable:
  """Builds (state, batch) -> (state, metrics).

  Args: losses: see `objectives.dvae.make_losses`. update_order: "joint" takes both gradients at the same parameters
    in one pass (Alg. 2); "alternate" updates the critics `critic_steps` times, each with noise of its own, and then the
    generator against the new critics. parts: number of parts of a batch; their gradients are accumulated.
    ema_decay: decay of the generator's moving average, for a state that has one.
  """
  if update_order not in ORDERS:
    raise ConfigError(f"update_order {update_order!r} is unknown; choose one of {', '.join(ORDERS)}")
  if update_order == "joint" and critic_steps != 1:
    raise ConfigError(
      f"critic_steps is {critic_steps} with joint updates, which take one; set update_order to 'alternate'"
    )

  def apply(tx, grads, state, params):
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state

  def gradient_of(loss: Callable, params):
    """Builds (batch, key) -> the gradient of loss(params, inputs, key) by `params`, and the loss's metrics."""

    def one_part(batch, key):
      return jax.grad(lambda p: loss(p, prepare(batch), key), has_aux=True)(params)

    return accumulate_gradients(one_part, parts)

  def advance(state: DVAEState, updated: tuple, grads: tuple, metrics: dict):
    gen, critic, opt_gen, opt_critic = updated
    ema = None if state.ema is None else optax.incremental_update(gen, state.ema, 1 - ema_decay)
    metrics |= {"grad_norm/gen": optax.tree.norm(grads[0]), "grad_norm/critic": optax.tree.norm(grads[1])}
    metrics |= skipped_updates(opt_gen, opt_critic)
    return DVAEState(state.step + 1, gen, critic, opt_gen, opt_critic, ema), metrics

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
