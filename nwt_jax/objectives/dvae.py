"""L_gen and L_adv of dVAE-Adv, and of dVAE-Class, for one batch (eq. 4, 8, 9; Alg. 2; A.2)."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nwt_jax.models.critics import Judgement
from nwt_jax.objectives import schedules, terms
from nwt_jax.types import Episode, Logits, Video

# Where the reconstruction is compared: all feature maps of the critics (dVAE-Adv, eq. 7-8), their penultimate layers
# alone (dVAE-Class, A.2), or pixels (plain ELBO, eq. 4), for which no critics are computed.
RECONSTRUCTIONS = ("features", "penultimate", "pixels")
# What critics do: score and learn (eq. 9), or only give features, unchanged (A.2's pretrained classifier).
CRITICS = ("adversarial", "frozen")


@dataclasses.dataclass(frozen=True)
class LossWeights:
  """Weights and choices of the objective; every one is a config field."""

  reconstruction: str  # one of RECONSTRUCTIONS
  critics: str  # one of CRITICS
  gan_weight: float  # gamma
  gp_weight: float  # lambda
  class_weight: float  # weighs the class head's cross-entropy in eq. 9 (A.2)
  # Share of its targets that is spread over all classes; then the cross-entropy's least value is that of the targets
  class_smoothing: float
  kl_weight: float  # beta after annealing
  kl_midpoint: float
  kl_rate: float
  pixel_power: int  # power of the pixel distance: 1 or 2
  pixel_weight: float  # weighs a pixel distance that fades out beside the features'
  pixel_fade_steps: int
  sampler: str


def code_use(logits: Logits) -> dict[str, Array]:
  """Returns how many codes the batch uses: mean and minimum over heads of codes chosen at all, and perplexity."""
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
  critics: Callable[[Video], Judgement],
  video: Video,
  key: Array,
  step: Array | int,
  weights: LossWeights,
) -> tuple[Float[Array, ""], Video, dict[str, Array | float]]:
  """Computes eq. 8, or eq. 4 with `reconstruction="pixels"`, for which no critics are computed.

  Args: generate: key -> (recon, logits). critics: video -> their output, without gradients to their parameters.
    video: x in [-1, 1].
  Returns: L_gen, the reconstruction, metrics.
  """
  recon, logits = generate(key)
  beta = weights.kl_weight * schedules.logistic(step, weights.kl_midpoint, weights.kl_rate)
  kl = terms.uniform_kl(logits)
  pixel = terms.pixel_distance(video, recon, weights.pixel_power)
  metrics = {"loss/kl": kl, "loss/pixel": pixel, "weight/kl": beta, **code_use(logits)}
  kl_term = terms.beta_norm(beta, video.shape, logits.shape) * kl
  if weights.reconstruction == "pixels":
    loss = pixel + kl_term
    return loss, recon, metrics | {"loss/recon": pixel, "loss/gen": loss}
  fake, real = critics(recon), critics(video)
  layers = slice(None) if weights.reconstruction == "features" else slice(-1, None)
  distance = terms.feature_distance([f[layers] for f in real.features], [f[layers] for f in fake.features])
  loss = distance + kl_term
  if weights.critics == "adversarial":
    metrics["loss/gan"] = terms.generator_score(fake.scores)
    loss += weights.gan_weight * metrics["loss/gan"]
  if weights.pixel_weight:
    fade = schedules.fade_out(step, weights.pixel_fade_steps)
    loss += weights.pixel_weight * fade * pixel
    metrics["weight/pixel"] = weights.pixel_weight * fade
  return loss, recon, metrics | {"loss/recon": distance, "loss/gen": loss}


def critic_loss(
  critics: Callable[[Video], Judgement],
  frozen: Callable[[Video], Judgement],
  video: Video,
  recon: Video,
  label: Int[Array, "b"] | None,
  key: Array,
  weights: LossWeights,
) -> tuple[Float[Array, ""], dict[str, Array]]:
  """Computes eq. 9, for dVAE-Class with the cross-entropy of classes (A.2). GAP: real clips alone are classified.

  Args: critics: to train. frozen: the same without gradients to their parameters. recon: x~. label: classes, where
    the critics have a class head.
  Returns: the loss to differentiate (its penalty is the surrogate of `terms.gradient_penalty`), metrics with the true
    penalty and the true L_adv.
  """
  recon = jax.lax.stop_gradient(recon)
  real, fake = critics(video), critics(recon)
  distance = terms.wasserstein(real.scores, fake.scores)
  surrogate, penalty = terms.gradient_penalty(
    lambda x: critics(x).scores, lambda x: frozen(x).scores, terms.interpolate(key, video, recon)
  )
  metrics = {"loss/wasserstein": distance, "loss/gradient_penalty": penalty}
  others = distance
  if weights.class_weight:
    entropy = terms.class_cross_entropy(real.classes, label, weights.class_smoothing)
    metrics |= {"loss/class": entropy, "class/error": terms.class_error(real.classes, label)}
    others += weights.class_weight * entropy
  metrics["loss/critic"] = others + weights.gp_weight * penalty
  return others + weights.gp_weight * surrogate, metrics


def make_losses(generate: Callable, critics: Callable, weights: LossWeights) -> Callable:
  """Binds the two networks.

  Args: generate: (params, video, episode, key, sampler) -> (recon, logits). critics: (params, video) -> Judgement.
  Returns: losses(gen, critic, video, episode, label, key, step) -> (L_gen, L_critic, metrics), such that the gradient
    of L_gen by `gen` and of L_critic by `critic` are Algorithm 2's and the other two are zero. label: classes [b] for
    critics with a class head, else None.
  """

  def losses(gen, critic, video: Video, episode: Episode, label: Int[Array, "b"] | None, key: Array, step: Array | int):
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
    if weights.reconstruction == "pixels" or weights.critics == "frozen":
      return l_gen, jnp.zeros(()), metrics
    l_critic, critic_metrics = critic_loss(
      lambda x: critics(critic, x), lambda x: critics(frozen, x), video, recon, label, key_interp, weights
    )
    return l_gen, l_critic, metrics | critic_metrics

  return losses
