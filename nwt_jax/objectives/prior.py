"""The prior's objective: cross-entropy of Memcode heads plus the style's KL (paper 2.2.1, B.2.2, C.2.2)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nwt_jax.types import Codes, Logits, Style


def memcode_cross_entropy(logits: Logits, codes: Codes) -> Float[Array, "b t i j k"]:
  """Returns -log p(code) of every head, in nats."""
  picked = jnp.take_along_axis(logits, codes.astype(jnp.int32)[..., None], axis=-1)[..., 0]
  return jax.nn.logsumexp(logits, axis=-1) - picked


def style_kl(mean: Style, log_std: Style) -> Float[Array, " b"]:
  """Returns KL(N(mean, std^2) || N(0, I)) of each clip, in nats, summed over its variates."""
  return 0.5 * jnp.sum(jnp.square(mean) + jnp.exp(2 * log_std) - 1 - 2 * log_std, axis=-1)


def loss_weights(change_rate: Float[Array, "i j"], power: float, first: float, frames: int) -> Float[Array, "t i j"]:
  """Returns weights of the positions of each frame of a window, of mean 1.

  DEPARTS: the paper weighs all alike, which power 0 and first 1 do. Each position keeps its optimum under any weights,
  as its cross-entropy is only scaled. Positions that move get a larger share of the gradient than a still background.
  So may the first frame: what it shows comes from style and episode, and later frames copy it.

  Args: change_rate: how often a position's symbols change from frame to frame; weights are its `power`-th power,
    scaled. first: weight of the first frame's positions, which weigh alike, in units of the later ones' mean. frames:
    length of the window."""
  later = jnp.maximum(change_rate, 1e-3) ** power
  later = jnp.broadcast_to(later / jnp.mean(later), (frames - 1, *change_rate.shape))
  weights = jnp.concatenate([jnp.full((1, *change_rate.shape), first), later])
  return weights / jnp.mean(weights)


def prior_loss(
  logits: Logits,
  codes: Codes,
  mean: Style,
  log_std: Style,
  style_kl_weight: float,
  weights: Float[Array, "t i j"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Computes (sum of cross-entropies + style_kl_weight * KL) / (t i j k), averaged over the batch.

  GAP: the paper does not write the reductions. With beta_l = 1 (C.2.2) and equal weights this is the negative
  ELBO of a clip's Memcodes, by one drawn style, divided by its number of head symbols; with other weights it is not.

  Args: logits: computed with a style drawn from its posterior. mean, log_std: the posterior's. weights: of the
    positions in the loss (`loss_weights`); None weighs them alike. The metrics are always unweighted.
  Returns: the loss, and metrics: loss/total, loss/ce and loss/ce_first (of the first frames) in nats a symbol,
    loss/style_kl in nats a clip, accuracy."""
  each = memcode_cross_entropy(logits, codes)
  ce = jnp.mean(each)
  kl = jnp.mean(style_kl(mean, log_std))
  weighted = ce if weights is None else jnp.einsum("btijk,tij->", each, weights) / each.size
  loss = weighted + style_kl_weight * kl / codes[0].size
  accuracy = jnp.mean((jnp.argmax(logits, axis=-1) == codes).astype(logits.dtype))
  first = jnp.mean(each[:, 0])
  return loss, {"loss/total": loss, "loss/ce": ce, "loss/ce_first": first, "loss/style_kl": kl, "accuracy": accuracy}
