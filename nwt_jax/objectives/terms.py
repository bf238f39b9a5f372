"""The terms of equations 4-9, each with its reductions written down."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nwt_jax.objectives.schedules import Scalar
from nwt_jax.types import Logits, Video


def feature_distance(real: Sequence[Sequence[Array]], fake: Sequence[Sequence[Array]]) -> Float[Array, ""]:
  """Eq. 7 under a Laplace distribution: L1 between feature maps.

  PAPER: footnote 3: in expectation over each feature map. So: mean over a map's elements and the batch, summed over
  layers and critics. The constant of the Laplace density is left out.
  """
  return sum(  # ty: ignore[invalid-explicit-return]
    jnp.mean(jnp.abs(jax.lax.stop_gradient(a) - b))
    for critic_real, critic_fake in zip(real, fake, strict=True)
    for a, b in zip(critic_real, critic_fake, strict=True)
  )


def pixel_distance(video: Video, recon: Video, power: int) -> Float[Array, ""]:
  """Eq. 4's first term: mean over all pixels and the batch of the difference's power.

  GAP: the paper does not name eq. 4's distribution. Power 1 is Laplace, as in eq. 7, power 2 a Gaussian. Constants and
  scales are left out.
  """
  return jnp.mean(jnp.abs(video - recon) ** power)


def generator_score(scores: Sequence[Float[Array, "b"]]) -> Float[Array, ""]:
  """Eq. 6: minus the critics' scores of reconstructions; mean over the batch, summed over critics."""
  return -sum(jnp.mean(score) for score in scores)  # ty: ignore[invalid-explicit-return]


def wasserstein(real: Sequence[Float[Array, "b"]], fake: Sequence[Float[Array, "b"]]) -> Float[Array, ""]:
  """Eq. 9 without the penalty: D(x~) - D(x); mean over the batch, summed over critics."""
  return sum(jnp.mean(f) - jnp.mean(r) for r, f in zip(real, fake, strict=True))  # ty: ignore[invalid-explicit-return]


def class_cross_entropy(
  logits: Sequence[Float[Array, "b n"]], label: Int[Array, "b"], smoothing: float
) -> Float[Array, ""]:
  """Cross-entropy of the class heads (A.2), in nats; mean over the batch, summed over critics.

  Args: smoothing: share of each target that is spread evenly over all classes.
  """
  log_probs = [jax.nn.log_softmax(part) for part in logits]
  chosen = sum(jnp.mean(jnp.take_along_axis(part, label[:, None], axis=-1)) for part in log_probs)
  return -(1.0 - smoothing) * chosen - smoothing * sum(jnp.mean(part) for part in log_probs)  # ty: ignore[invalid-explicit-return]


def class_error(logits: Sequence[Float[Array, "b n"]], label: Int[Array, "b"]) -> Float[Array, ""]:
  """Returns the share of the batch that the class heads, their probabilities multiplied, put into a wrong class."""
  return jnp.mean(jnp.argmax(sum(jax.nn.log_softmax(part) for part in logits), axis=-1) != label)


def uniform_kl(logits: Logits) -> Float[Array, ""]:
  """Returns the KL of q(z | x) to the uniform prior, in nats: summed over heads, mean over Memcodes and the batch."""
  log_probs = jax.nn.log_softmax(logits)
  per_head = jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1) + jnp.log(logits.shape[-1])
  return jnp.mean(jnp.sum(per_head, axis=-1))


def beta_norm(beta: Scalar, video_shape: tuple[int, ...], logits_shape: tuple[int, ...]) -> Scalar:
  """PAPER: footnote 3: beta M / N of the beta-VAE, the weight that goes with means.

  GAP: M and N are not given. M counts Memcodes, whose KL is already summed over heads, and N the elements of the video.
  Beside the distance of pixels (eq. 4), at beta = 1 the sum is then the negative ELBO of the clip divided by N, but for
  constants: -log p(x | z) summed over elements, of a Laplace distribution of scale 1 (power 1) or a Gaussian of
  variance 1/2 (power 2), plus the KL summed over Memcodes. Beside the features' distance (eq. 7-8) it is no ELBO at any
  beta: each feature map counts by its mean, as if it had N elements, and the means of all critics' maps are added up.
  """
  memcodes = 1
  for size in logits_shape[:-2]:
    memcodes *= size
  elements = 1
  for size in video_shape:
    elements *= size
  return beta * memcodes / elements


def gradient_penalty(
  critics: Callable[[Video], Sequence[Float[Array, "b"]]],
  frozen: Callable[[Video], Sequence[Float[Array, "b"]]],
  interp: Video,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """(||grad D(x^)|| - 1)^2 of eq. 9, summed over critics.

  GAP: the paper does not say over what a norm is taken: one a clip, over all of its frames, and critic.

  Args: critics: scores as a function of the video, differentiable by the critics' parameters. frozen: the same
    without gradients to those parameters. interp: x^.
  Returns: a surrogate with the penalty's exact gradient by the parameters, and the penalty's true value, to log.

  The penalty's parameter gradient is sum_b c_b d/dtheta <v_b, grad D(x^_b)> with v = g / ||g|| and c = 2 (||g|| - 1)
  held fixed, and <v, grad D> is a directional derivative: forward mode instead of a second backward pass.
  """
  interp = jax.lax.stop_gradient(interp)
  surrogate, value = 0.0, 0.0
  for index in range(len(jax.eval_shape(frozen, interp))):
    # By one score: the others, with cotangents of zeros, would be gone back through as well.
    gradient = jax.grad(lambda x, i=index: jnp.sum(frozen(x)[i]))(interp)
    axes = tuple(range(1, gradient.ndim))
    norm = jnp.sqrt(jnp.sum(gradient**2, axis=axes))
    scale = jnp.maximum(norm, jnp.finfo(norm.dtype).tiny)
    direction = gradient / jnp.expand_dims(scale, axes)
    weight = 2.0 * (norm - 1.0)
    _, slopes = jax.jvp(lambda x, i=index: critics(x)[i], (interp,), (direction,))
    surrogate += jnp.mean(jax.lax.stop_gradient(weight) * slopes)
    value += jnp.mean((norm - 1.0) ** 2)
  return surrogate, jax.lax.stop_gradient(value)  # ty: ignore[invalid-explicit-return]


def interpolate(key: Array, video: Video, recon: Video) -> Video:
  """x^ = u x + (1 - u) x~ (Alg. 2). GAP: one u a clip, as Gulrajani et al. (2017) have one a picture."""
  uniform = jax.random.uniform(key, (video.shape[0], 1, 1, 1, 1), video.dtype)
  return uniform * video + (1.0 - uniform) * recon
