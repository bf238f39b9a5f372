"""Sampling a clip of any length in chunks of one size, which overlap by what the audio encoder sees (B.2.1)."""

from collections.abc import Callable

from jaxtyping import Array, Key

from nwt_jax.models.prior import Prior
from nwt_jax.types import StyleTrack


def make_chunk(model: Prior, sample_chunk: Callable, frames: int) -> Callable:
  """The one program that samples a clip chunk by chunk; pure, so that its caller may jit it once.

  Args: sample_chunk: of generate.far or generate.mar. frames: in a chunk.
  Returns: chunk(params, weights, state, mel [b s m], valid [b w], style [b z] or [b w z], episode [b w], keys [b],
    first_frame, temperature) -> (codes [b frames i j k], state), where weights are `fold` of params, and mel, valid,
    episode and a style that changes cover the w = look_back + frames + look_ahead frames around the chunk, with valid 0
    outside the clip. The last chunk may reach past its end."""

  def chunk(
    params, weights, state, mel, valid, style: StyleTrack, episode, keys: Key[Array, " b"], first_frame, temperature
  ):
    condition = model.apply(params, mel, style, episode, valid, frames, method="condition")
    return sample_chunk(model, weights, state, condition, keys, first_frame, temperature)

  return chunk
