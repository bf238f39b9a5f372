"""Drawn faces that move by chance: what the rulers of mouths are tried on, with no speech needed."""

import numpy as np

from nwt_jax.talker.motion import Motion


def moving_face(seed, frames=40):
  """A face that moves by chance, mouth, head and eyes, smoothly."""
  rng = np.random.default_rng(seed)

  def track(low, high, *axes):
    values = rng.normal(size=(frames + 8, *axes))
    smooth = np.apply_along_axis(lambda v: np.convolve(v, np.hanning(11)[1:-1] / 3, mode="valid"), 0, values)
    return np.clip((low + high) / 2 + (high - low) / 2 * smooth, low, high).astype(np.float32)

  return Motion(*(track(0, 1) for _ in range(5)), track(0, 0), track(0, 1), track(0, 1), track(-0.8, 0.8, 3))
