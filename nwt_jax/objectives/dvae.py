"""L_gen and L_adv of dVAE-Adv for one batch (eq. 4, 8, 9; Alg. 2)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from nwt_jax.objectives import schedules, terms
from nwt_jax.types import Episode, Logits, Video

RECONSTRUCTIONS = ("features", "pixels")


@struct.dataclass
class Weights:
  """The objective's numbers; every one is a config field."""

  reconstruction: str = struct.field(pytree_node=False)  # "features": dVAE-Adv (eq. 7-8); "pixels": plain ELBO (eq. 4)
  gan_weight: float = struct.field(pytree_node=False)  # gamma
  gp_weight: float = struct.field(pytree_node=False)  # lambda
  kl_weight: float = struct.field(pytree_node=False)  # what beta reaches
  kl_midpoint: float = struct.field(pytree_node=False)
  kl_rate: float = struct.field(pytree_node=False)
  pixel_weight: float = struct.field(pytree_node=False)  # of a pixel L1 that fades out, beside the features'
  pixel_fade_steps: int = struct.field(pytree_node=False)
  sampler: str = struct.field(pytree_node=False)


def code_use(logits: Logits) -> dict[str, Array]:
  """How many codes the batch uses: mean and minimum over heads of codes chosen at all, and perplexity."""
  chosen = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1])
  share = jnp.mean(chosen, axis=(0, 1, 2, 3))  # [k n]
  entropy = -jnp.sum(share * jnp.log(jnp.maximum(share, 1e-12)), axis=-1)
  used = jnp.sum(share > 0, axis=-1)
  return {
    "codes/used": jnp.mean(used.astype(jnp.float32)),
    "codes/used_min": jnp.min(used).astype(jnp.float32),
    "codes/perplexity": jnp.mean(jnp.exp(entropy)),
    "codes/perplexity_by_head": jnp.exp(entropy),
  }


def generator_loss(
  generate: Callable[[Array], tuple[Video, Logits]],
  critics: Callable[[Video], tuple],
  video: Video,
  key: Array,
  step: Array | int,
  weights: Weights,
) -> tuple[Float[Array, ""], Video, dict[str, Array]]:
  """Eq. 8 (or eq. 4 with `reconstruction="pixels"`, when the critics are not asked).

  Args: generate: key -> (recon, logits). critics: frozen, video -> (scores, features). video: x in [-1, 1].
  Returns: L_gen, the reconstruction, metrics.
  """
  recon, logits = generate(key)
  beta = weights.kl_weight * schedules.logistic(step, weights.kl_midpoint, weights.kl_rate)
  kl = terms.uniform_kl(logits)
  pixel = terms.pixel_distance(video, recon)
  metrics = {"loss/kl": kl, "loss/pixel": pixel, "weight/kl": beta, **code_use(logits)}
  kl_term = terms.beta_norm(beta, video.shape, logits.shape) * kl
  if weights.reconstruction == "pixels":
    loss = pixel + kl_term
    return loss, recon, metrics | {"loss/recon": pixel, "loss/gen": loss}
  scores, fake = critics(recon)
  _, real = critics(video)
  distance, gan = terms.feature_distance(real, fake), terms.generator_score(scores)
  loss = distance + weights.gan_weight * gan + kl_term
  if weights.pixel_weight:
    fade = schedules.fade_out(step, weights.pixel_fade_steps)
    loss += weights.pixel_weight * fade * pixel
    metrics["weight/pixel"] = weights.pixel_weight * fade
  return loss, recon, metrics | {"loss/recon": distance, "loss/gan": gan, "loss/gen": loss}


def critic_loss(
  critics: Callable[[Video], tuple],
  frozen: Callable[[Video], tuple],
  video: Video,
  recon: Video,
  key: Array,
  weights: Weights,
) -> tuple[Float[Array, ""], dict[str, Array]]:
  """Eq. 9.

  Args: critics: video -> (scores, features). frozen: the same without gradients to its parameters. recon: x~.
  Returns: the loss to differentiate (its penalty is the surrogate of `terms.gradient_penalty`), metrics with the true
    penalty and the true L_adv.
  """
  recon = jax.lax.stop_gradient(recon)
  real, fake = critics(video)[0], critics(recon)[0]
  distance = terms.wasserstein(real, fake)
  surrogate, penalty = terms.gradient_penalty(
    lambda x: critics(x)[0], lambda x: frozen(x)[0], terms.interpolate(key, video, recon)
  )
  metrics = {
    "loss/wasserstein": distance,
    "loss/gradient_penalty": penalty,
    "loss/critic": distance + weights.gp_weight * penalty,
  }
  return distance + weights.gp_weight * surrogate, metrics


def make_losses(generate: Callable, critics: Callable, weights: Weights):
  """Binds the two networks.

  Args: generate: (params, video, episode, key, sampler) -> (recon, logits). critics: (params, video) -> (scores,
    features).
  Returns: losses(gen, critic, video, episode, key, step) -> (L_gen, L_critic, metrics), such that the gradient of
    L_gen by `gen` and of L_critic by `critic` are Algorithm 2's and the other two are zero.
  """

  def losses(gen, critic, video: Video, episode: Episode, key: Array, step: Array | int):
    key_sample, key_interp = jax.random.split(key)
    frozen = jax.lax.stop_gradient(critic)
    l_gen, recon, metrics = generator_loss(
      lambda k: generate(gen, video, episode, k, weights.sampler),
      lambda x: critics(frozen, x),
      video,
      key_sample,
      step,
      weights,
    )
    if weights.reconstruction == "pixels":
      return l_gen, jnp.zeros(()), metrics
    l_critic, critic_metrics = critic_loss(
      lambda x: critics(critic, x), lambda x: critics(frozen, x), video, recon, key_interp, weights
    )
    return l_gen, l_critic, metrics | critic_metrics

  return losses
