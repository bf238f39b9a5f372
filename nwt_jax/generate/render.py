"""Clips of any length through the dVAE: windows of one shape that overlap by the temporal blocks' margins (B.1.1)."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from nwt_jax.models.dvae import DVAE
from nwt_jax.types import Video


def window(sequence: np.ndarray, start: int, frames: int, margins: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
  """Cuts out frames start - margins[0] .. start + frames + margins[1], with zeros where the clip has none.

  Args: sequence: [b t ...]. start: first frame wanted. frames: number of frames wanted. margins: frames to add (before,
    after).
  Returns: the window [b frames+margins ...], and its `valid` mask [b frames+margins]. Temporal layers multiply by the
    mask, so that the middle of a window equals the same frames of the whole clip.
  """
  before, after = margins
  length = sequence.shape[1]
  low, high = start - before, start + frames + after
  part = sequence[:, max(low, 0) : min(high, length)]
  leading = max(-low, 0)
  pads = (leading, high - low - leading - part.shape[1])
  valid = np.pad(np.ones(part.shape[:2], np.float32), ((0, 0), pads))
  return np.pad(part, ((0, 0), pads) + ((0, 0),) * (part.ndim - 2)), valid


def from_pixels(frames: UInt8[Array, "b t h w c"]) -> Video:
  """Converts uint8 to floats in [-1, 1] (D.9)."""
  return frames.astype(jnp.float32) / 127.5 - 1.0


def to_pixels(video: Video) -> UInt8[Array, "b t h w c"]:
  """Converts floats in [-1, 1] to uint8: the inverse of D.9, clipped and rounded."""
  return jnp.clip(jnp.round((video.astype(jnp.float32) + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def make_draw(decode: Callable, margins: tuple[int, int]) -> Callable[..., Array]:
  """Builds draw(params, codes, episode, valid) -> uint8 [b t-margins h w 3], one window's frames without its margins.

  Args: decode: (params, codes, episode, valid) -> video in [-1, 1]. margins: the decoder's.
  """

  def draw(params, codes, episode, valid):
    video = decode(params, codes.astype(jnp.int32), episode, valid)
    return to_pixels(video[:, margins[0] : video.shape[1] - margins[1]])

  return jax.jit(draw)


def make_decoder(draw: Callable, margins: tuple[int, int]) -> Callable[..., np.ndarray]:
  """Builds run(params, codes uint8 [b t i j k], episode [b t], frames) -> uint8 [b t h w 3], `frames` at once.

  Args: draw: what `make_draw` returns. margins: the decoder's.
  """

  def run(params, codes: np.ndarray, episode: np.ndarray, frames: int) -> np.ndarray:
    parts = []
    for start in range(0, codes.shape[1], frames):
      part, valid = window(codes, start, frames, margins)
      numbers, _ = window(episode, start, frames, margins)
      parts.append(np.asarray(draw(params, part, numbers, valid)[:, : min(frames, codes.shape[1] - start)]))
    return np.concatenate(parts, axis=1)

  return run


def make_encoder(encode: Callable, margins: tuple[int, int]) -> Callable[..., np.ndarray]:
  """Builds encode(params, video uint8 [b t h w 3], frames, key) -> codes uint8 [b t i j k].

  Args: encode: (params, video in [-1, 1], valid) -> logits. margins: the encoder's. In `run`, a key of None takes the
    argmax; another draws each frame's noise from the key and the frame's number alone.
  """

  def codes_of(params, video, valid, first, key):
    logits = encode(params, from_pixels(video), valid)
    if key is not None:
      shape = (logits.shape[0], *logits.shape[2:])
      frames = first + jnp.arange(logits.shape[1], dtype=jnp.uint32)
      noise = jax.vmap(lambda frame: jax.random.gumbel(jax.random.fold_in(key, frame), shape))(frames)
      logits = logits + jnp.swapaxes(noise, 0, 1)
    return jnp.argmax(logits, axis=-1).astype(jnp.uint8)

  compiled = jax.jit(codes_of)

  def run(params, video: np.ndarray, frames: int, key: Array | None = None) -> np.ndarray:
    parts = []
    for start in range(0, video.shape[1], frames):
      part, valid = window(video, start, frames, margins)
      codes = compiled(params, part, valid, np.uint32(start), key)  # noise depends on the frame's number
      count = min(frames, video.shape[1] - start)
      parts.append(np.asarray(codes[:, margins[0] : margins[0] + count]))
    return np.concatenate(parts, axis=1)

  return run


class Codec:
  """A loaded dVAE: frames to Memcodes and back, for clips of any length; programs are compiled at first use.

  Args: params: the dVAE's variables. dtype: type that the decoder computes in; the encoder keeps the variables'."""

  def __init__(self, dvae: DVAE, params, dtype=jnp.float32):
    self._dvae, self._params, self._dtype = dvae, params, jnp.dtype(dtype)
    self.decoder_margins: tuple[int, int] = dvae.decoder_margins

  def encode(self, video: np.ndarray, frames: int, key: Array | None = None) -> np.ndarray:
    """Encodes frames as the function of `make_encoder` does, with the params bound."""
    return self._encoder(self._params, video, frames, key)

  def decode(self, codes: np.ndarray, episode: np.ndarray, frames: int) -> np.ndarray:
    """Decodes Memcodes as the function of `make_decoder` does, with the params bound."""
    return make_decoder(self._draw, self.decoder_margins)(self._decoder_params, codes, episode, frames)

  def draw(self, codes: Array, episode: np.ndarray, valid: np.ndarray) -> Array:
    """Decodes one window as the function of `make_draw` does, with the params bound."""
    return self._draw(self._decoder_params, codes, episode, valid)

  @functools.cached_property
  def _encoder(self) -> Callable:
    return make_encoder(functools.partial(self._dvae.apply, method="encode"), self._dvae.encoder_margins)

  @functools.cached_property
  def _draw(self) -> Callable:
    decode = lambda params, codes, episode, valid: self._dvae.apply(
      params, codes, episode, valid.astype(self._dtype), method="decode"
    )
    return make_draw(decode, self.decoder_margins)

  @functools.cached_property
  def _decoder_params(self):
    cast = lambda tree: jax.tree.map(lambda x: x.astype(self._dtype), tree)
    return self._params if self._dtype == jnp.float32 else jax.jit(cast)(self._params)
