"""A loaded prior and its dVAE, ready to sample on a machine: what every session of a model shares."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Key

from nwt_jax.generate import far, mar
from nwt_jax.generate.options import SamplingOptions
from nwt_jax.generate.render import Codec
from nwt_jax.models.prior import Prior
from nwt_jax.types import StyleTrack

FAMILIES = {"far": far, "mar": mar}  # modules with `fold`, `init_state` and `sample_chunk`


class Sampler:
  """A prior with its variables, and the dVAE that decodes its Memcodes; weights and programs are made at first use.

  Args: family: a key of FAMILIES. prior: the module. params: its variables. codec: the dVAE. options: how to sample."""

  def __init__(self, family: str, prior: Prior, params, codec: Codec, options: SamplingOptions):
    self.prior, self.codec = prior, codec
    self._family, self._params, self._options = FAMILIES[family], params, options
    self._most, self._parallel = {}, {}  # arguments that only MAR's functions have
    if self._family is mar:
      self._most = {"most": options.positions if options.positions > 1 else mar.TILE}
      self._parallel = {"parallel": options.positions > 1}
    self._program = functools.cache(self._make_program)  # one compiled program per size of chunk

  @property
  def codes_shape(self) -> tuple[int, int, int]:
    """The shape (i, j, k) of a frame of Memcodes."""
    return (*self.prior.grid, self.prior.num_heads)

  @functools.cached_property
  def weights(self) -> Any:
    """The folded weights of the prior's decoder, in the precision of the options."""
    fold = functools.partial(self._family.fold, self.prior, dtype=self._options.dtype, **self._most)
    return jax.jit(fold)(self._params)

  def init_state(self, clips: int) -> Any:
    """Returns the state of so many clips before their first frame: a FARState or a MARState."""
    return self._family.init_state(self.prior, clips, self._options.dtype, **self._most)

  def sample(self, frames: int) -> Callable:
    """Returns the program for chunks of so many frames: that of `make_chunk`, with variables and weights bound."""
    return functools.partial(self._program(frames), self._params, self.weights)

  def _make_program(self, frames: int) -> Callable:
    sample_chunk = functools.partial(self._family.sample_chunk, **self._parallel)
    chunk = make_chunk(self.prior, sample_chunk, frames)
    return jax.jit(chunk, compiler_options=dict(self._options.compiler_options))


def make_chunk(model: Prior, sample_chunk: Callable, frames: int) -> Callable:
  """Builds the program that samples a clip chunk by chunk; it is pure, so that its caller may jit it once.

  Windows of conditioning overlap by the audio encoder's receptive field (B.2.1), so that consecutive chunks give the
  same as the whole clip at once.

  Args: model: the prior. sample_chunk: that of generate.far or generate.mar. frames: number of frames in a chunk.
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
