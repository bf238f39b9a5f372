"""Checks a sample: computes every code again without caches, with the whole clip through the model at once."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from nwt_jax.generate.noise import frame_noise
from nwt_jax.models.prior import Prior
from nwt_jax.types import Codes, Episode, Mel, StyleTrack


def resample(
  model: Prior,
  params: Any,
  codes: Codes,
  mel: Mel,
  style: StyleTrack,
  episode: Episode,
  keys: Key[Array, " b"],
  temperature: Any,
) -> tuple[UInt8[Array, "b t i j k"], Float[Array, "b t i j k"]]:
  """Draws every code of a sample again from the codes before it, with the same noise but no cache.

  Each code is recomputed from the sample's own prefix, so that mismatches do not propagate. A mismatch with a small gap
  is rounding; one with a large gap is a fault of the sampler.

  Args: codes: a sample from frame 0 on. keys: the keys that it was sampled with, one per clip. temperature: the
    temperature that it was sampled with.
  Returns: the new codes, and the gap between the best score and the second best (both with noise, in nats)."""
  logits = model.apply(params, codes, mel, style, episode)
  frames = jnp.arange(codes.shape[1])
  noise = jax.vmap(lambda t: frame_noise(keys, t, logits.shape[2:]), out_axes=1)(frames)
  best, index = jax.lax.top_k(logits + temperature * noise.astype(logits.dtype), 2)
  return index[..., 0].astype(jnp.uint8), best[..., 0] - best[..., 1]
