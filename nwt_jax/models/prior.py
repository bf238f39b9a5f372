"""The parts that all strategies of the prior share: conditioning, and the forward that training runs (Fig. 1b, B.2).

FAR and MAR are this with a decoder; a head-level strategy (HAR) would be a third.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jax import lax
from jaxtyping import Array, Float, Int

from nwt_jax.models import conditioning
from nwt_jax.models.causal import ResidualBlock
from nwt_jax.models.spatial import Tower
from nwt_jax.types import Codes, Episode, Logits, Mel, Style, StyleTrack


def exact_dot(x: Array, kernel: Array, dimensions: Any, **options: Any) -> Array:
  """A product that is float32 at least, whatever its factors are: the cross-entropy is."""
  options["preferred_element_type"] = jnp.promote_types(x.dtype, jnp.float32)
  return lax.dot_general(x, kernel, dimensions, **options)


class Prior(nn.Module):
  """Fields and methods that FAR and MAR share; sizes have no defaults, configs decide.

  A strategy adds its decoder and two properties: `decoder_grid`, the rows and columns at which conditioning meets the
  decoder, and `decoder_width`, the width of the activations that meet the first block's projection."""

  grid: tuple[int, int]  # rows and columns of a frame of Memcodes
  num_heads: int
  num_codes: int
  embed_dim: int  # per head
  share_embedding: bool  # the style encoder reads the decoder's table: Table 6 prints one, Table 5 two
  learned_empty: bool
  num_episodes: int
  episode_dim: int
  mel_stride: int  # mel frames in a video frame
  mel_shift: float
  mel_scale: float
  audio_rows: tuple[tuple[int, int, int], ...]  # (kernel, dilation, features)
  audio_tower: tuple[tuple[int, int], ...]  # (SC3D layers, features) at 2 x 2, 4 x 4, ...
  tower_kernel: tuple[int, int, int]
  style_dim: int
  style_rows: tuple[tuple[tuple[int, int, int], int, int, int], ...]  # (kernel, dilation, stride, features)
  style_tower: tuple[tuple[int, int], ...]
  min_log_std: float
  blocks: tuple[tuple[tuple, ...], ...]  # residual blocks of rows (kernel, dilation, features)
  linear_dim: int  # width of the linear projection before each block
  causal_audio: bool = dataclasses.field(default=False, kw_only=True)  # no frame depends on the sound of a later one
  remat: bool = dataclasses.field(default=False, kw_only=True)  # blocks are computed again in the backward pass

  @property
  def cond_margins(self) -> tuple[int, int]:
    """Frames (before, after) a frame that its conditioning depends on; at full size FAR: 23, 23, MAR: 29, 29.

    With `causal_audio` FAR: 46, 0, MAR: 58, 0."""
    layers = sum(layers for layers, _ in self.audio_tower)
    return conditioning.audio_margins(self.audio_rows, self.mel_stride, layers, self.tower_kernel[0], self.causal_audio)

  @property
  def look_back(self) -> int:
    return self.cond_margins[0]

  @property
  def look_ahead(self) -> int:
    return self.cond_margins[1]

  def setup(self) -> None:
    self.embed = conditioning.CodeEmbedding(self.num_codes, self.embed_dim, self.learned_empty)
    if not self.share_embedding:
      self.style_embed = conditioning.CodeEmbedding(self.num_codes, self.embed_dim, False)
    self.audio_encoder = conditioning.AudioEncoder(
      self.audio_rows, self.mel_stride, self.mel_shift, self.mel_scale, self.causal_audio
    )
    self.audio_upsampler = Tower(self.audio_tower, self.tower_kernel, self.decoder_grid, self.causal_audio)
    self.style_encoder = conditioning.StyleEncoder(self.style_rows, self.style_dim, self.min_log_std)
    self.style_upsampler = Tower(self.style_tower, self.tower_kernel, self.decoder_grid)
    self.episode_embedding = conditioning.EpisodeEmbedding(self.num_episodes, self.episode_dim)
    outside = (self.audio_tower[-1][1], self.style_tower[-1][1], self.episode_dim)
    inside = (self.decoder_width, *(block[-1][-1] for block in self.blocks[:-1]))
    self.linears = [conditioning.ConcatLinear((width, *outside), self.linear_dim) for width in inside]
    # GAP: logits start near 0, the cross-entropy near log(num_codes).
    start = nn.initializers.variance_scaling(0.01, "fan_in", "uniform")
    self.logits = nn.Dense(self.num_heads * self.num_codes, kernel_init=start, dot_general=exact_dot)

  def style_posterior(self, codes: Codes, valid: Array | None = None) -> tuple[Style, Style]:
    """Posterior of a clip's style.

    Args: codes: [b t i j k]. valid: optional [b t], frames inside the clip.
    Returns: mean and log standard deviation (at least `min_log_std`), each [b z]."""
    embed = self.embed if self.share_embedding else self.style_embed
    return self.style_encoder(embed(codes), valid)

  def block(self, *fields: Any, static: tuple[int, ...] = ()) -> nn.Module:
    """A residual block of the decoder. Args: static: which arguments of its calls are plain numbers in training."""
    return (nn.remat(ResidualBlock, static_argnums=static) if self.remat else ResidualBlock)(*fields)

  def condition(
    self, mel: Mel, style: StyleTrack, episode: Episode, valid: Array | None = None, frames: int | None = None
  ) -> tuple[Float[Array, "b _ ..."], ...]:
    """Everything that decoding needs from outside: for each block, the conditioning's share of its linear projection.

    Args: mel: [b s m], s = mel_stride * t. episode: [b t]. valid: optional [b t], frames inside the clip. frames: how
      many to condition; None: t. Less than t, they lie in a window of look_back + frames + look_ahead, all that they
      depend on, and come out as in the whole clip.
    Returns: one array a block, FAR: [b t u v f] at the decoder's grid, MAR: [b t p f], positions in raster order."""
    audio = self.audio_upsampler(self.audio_encoder(mel, valid), valid)
    # GAP: how the tower's kernels over 3 frames meet a style that has none. It holds for a clip without end: one frame
    # that goes on to both sides. One style is broadcast over time.
    track = style[:, None] if style.ndim == 2 else style
    styled = self.style_upsampler(rearrange(track, "b t z -> (b t) 1 z"), endless=True)
    styled = rearrange(styled, "(b t) 1 i j s -> b t i j s", b=len(track))
    embedded = self.episode_embedding(episode)
    shares = tuple(self.arrange(linear.condition(audio, styled, embedded)) for linear in self.linears)
    if frames is None or frames == audio.shape[1]:
      return shares
    assert audio.shape[1] == frames + sum(self.cond_margins), (audio.shape, frames, self.cond_margins)
    return tuple(share[:, self.look_back : self.look_back + frames] for share in shares)

  def arrange(self, condition: Float[Array, "b t i j f"]) -> Float[Array, "b t ..."]:
    return condition

  def reconstruct(
    self,
    codes: Codes,
    mel: Mel,
    episode: Int[Array, "b w"],
    noise: Style,
    valid: Array | None = None,
    history: Codes | None = None,
  ) -> tuple[Logits, Style, Style]:
    """The training forward, with style drawn from the posterior; touches every parameter, so `init` calls it.

    Args: codes: a window, all of it inside its clip. mel, episode, valid: cover the window or more, see `condition`.
      noise: standard normal [b z]. history: what predictions are made from, where it is not `codes` themselves.
    Returns: logits [b t i j k n], and the posterior's mean and log std [b z]."""
    mean, log_std = self.style_posterior(codes)
    style = mean + jnp.exp(log_std) * noise
    return self(codes if history is None else history, mel, style, episode, valid), mean, log_std
