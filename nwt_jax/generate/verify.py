"""Sampling without caches, as the check on sampling with them: the whole clip through the model at once."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from nwt_jax.generate.noise import frame_noise
from nwt_jax.models.prior import Prior
from nwt_jax.types import Codes, Episode, Mel, StyleTrack


def redraw(
  model: Prior,
  params,
  codes: Codes,
  mel: Mel,
  style: StyleTrack,
  episode: Episode,
  keys: Key[Array, " b"],
  temperature,
) -> tuple[UInt8[Array, "b t i j k"], Float[Array, "b t i j k"]]:
  """Draws every code of a sample again, each from the codes before it, with the same noise but no cache.

  Where all of them come out as they were, sampling without a cache gives the sample itself. Where one does not, its
  prefix is still the sample's: every difference is a first difference, and rounding explains it if the gap is small.

  Args: codes: a sample from frame 0 on. keys: as for sampling, one a clip.
  Returns: the codes drawn again, and how much the best score leads the second (both with noise, in nats)."""
  logits = model.apply(params, codes, mel, style, episode)
  frames = jnp.arange(codes.shape[1])
  noise = jax.vmap(lambda t: frame_noise(keys, t, logits.shape[2:]), out_axes=1)(frames)
  best, place = jax.lax.top_k(logits + temperature * noise.astype(logits.dtype), 2)
  return place[..., 0].astype(jnp.uint8), best[..., 0] - best[..., 1]
