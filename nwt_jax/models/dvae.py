"""dVAE-Adv's generator: encoder, hard attention, decoder (Fig. 1a, Table 4a, B.1)."""

import jax.numpy as jnp
from einops import rearrange, repeat
from flax import linen as nn
from jaxtyping import Array, Float

from nwt_jax.models.blocks import Conv, Residual, Temporal, UpConv, leaky_relu, temporal_margins
from nwt_jax.models.memcodes import HardAttention
from nwt_jax.types import Codes, Episode, Logits, Valid, Video


class Encoder(nn.Module):
  """Halves each frame once a stage, then looks at neighbouring frames."""

  stem: int
  stages: tuple[tuple[int, int], ...]
  temporal: tuple[tuple[int, int], ...]
  kernel: int
  patch: int
  remat: bool

  @nn.compact
  def __call__(self, video: Video, valid: Valid | None = None) -> Float[Array, "b t i j d"]:
    spatial, block = (1, self.kernel, self.kernel), nn.remat(Residual) if self.remat else Residual
    x = rearrange(video, "b t (h p) (w q) c -> b t h w (p q c)", p=self.patch, q=self.patch)
    x = leaky_relu(Conv(self.stem, spatial, name="stem")(x))
    for index, (convs, features) in enumerate(self.stages):
      x = block(convs, features, self.kernel, name=f"residual{index}")(x)
      x = leaky_relu(Conv(features, spatial, stride=2, name=f"down{index}")(x))
    return Temporal(self.temporal, name="temporal")(x, valid)


class Decoder(nn.Module):
  """The encoder mirrored: neighbouring frames first, then nearest-neighbour upsampling, tanh at the end (B.1.3)."""

  stages: tuple[tuple[int, int], ...]  # as the encoder's, in the encoder's order
  temporal: tuple[tuple[int, int], ...]
  kernel: int
  patch: int
  channels: int
  remat: bool

  @nn.compact
  def __call__(self, x: Float[Array, "b t i j d"], valid: Valid | None = None) -> Video:
    spatial, block = (1, self.kernel, self.kernel), nn.remat(Residual) if self.remat else Residual
    x = Temporal(tuple(reversed(self.temporal)), name="temporal")(x, valid)
    for index, (convs, features) in enumerate(reversed(self.stages)):
      x = leaky_relu(UpConv(features, self.kernel, name=f"up{index}")(x))
      x = block(convs, features, self.kernel, name=f"residual{index}")(x)
    x = Conv(self.patch**2 * self.channels, spatial, gain=1.0, name="pixels")(x)
    return jnp.tanh(rearrange(x, "b t h w (p q c) -> b t (h p) (w q) c", p=self.patch, q=self.patch))


class DVAE(nn.Module):
  """The generator of dVAE-Adv. `encode` gives logits, `decode` takes codes, `__call__` trains."""

  stem: int  # features of the first convolution
  stages: tuple[tuple[int, int], ...]  # (convolutions in the residual block, features) per halving
  temporal: tuple[tuple[int, int], ...]  # (frames in the kernel, features) per layer
  kernel: int  # in space, of all 2-D convolutions
  patch: int  # the first and the last convolution work on blocks of so many pixels squared; 1 at the paper's size
  num_heads: int
  num_codes: int
  code_dim: int
  attention_dim: int
  query_init: float
  num_episodes: int
  episode_dim: int
  channels: int = 3
  remat: bool = False  # residual blocks are computed again in the backward pass

  def setup(self) -> None:
    self.encoder = Encoder(self.stem, self.stages, self.temporal, self.kernel, self.patch, self.remat)
    self.memcodes = HardAttention(self.num_heads, self.num_codes, self.code_dim, self.attention_dim, self.query_init)
    self.episodes = self.param("episodes", nn.initializers.normal(1.0), (self.num_episodes, self.episode_dim))
    self.decoder = Decoder(self.stages, self.temporal, self.kernel, self.patch, self.channels, self.remat)

  @property
  def downsampling(self) -> int:
    """Pixels per latent row and column."""
    return self.patch * 2 ** len(self.stages)

  @property
  def encoder_margins(self) -> tuple[int, int]:
    """Frames before and after that a Memcode depends on."""
    return temporal_margins(self.temporal)

  @property
  def decoder_margins(self) -> tuple[int, int]:
    """Frames before and after that a decoded frame depends on: chunked decoding overlaps by these."""
    return temporal_margins(self.temporal)

  def encode(self, video: Video, valid: Valid | None = None) -> Logits:
    """Logits of q(z | x).

    Args: video: in [-1, 1]; height and width multiples of `downsampling`. valid: 1 for frames inside the clip.
    Raises: ValueError: a height or width that is not such a multiple.
    """
    if any(size % self.downsampling for size in video.shape[2:4]):
      raise ValueError(
        f"frames of {video.shape[2]} x {video.shape[3]} do not divide by {self.downsampling}; resize them"
      )
    return self.memcodes.logits(self.encoder(video, valid))

  def decode(self, codes: Codes, episode: Episode, valid: Valid | None = None) -> Video:
    """Frames in [-1, 1] for Memcodes; an episode of -1 takes the mean of the episode embeddings."""
    return self._decode(self.memcodes.lookup(codes), episode, valid)

  def __call__(self, video: Video, episode: Episode, key: Array | None, sampler: str) -> tuple[Video, Logits]:
    """Returns: the reconstruction from sampled Memcodes, and the logits they were sampled from."""
    attended, logits, _ = self.memcodes(self.encoder(video), key, sampler)
    return self._decode(attended, episode, None), logits

  def _decode(self, attended, episode, valid):
    # GAP: an unseen or unnamed episode (-1) gets the mean embedding.
    mean = jnp.mean(self.episodes, axis=0)
    embedding = jnp.where(episode[..., None] < 0, mean[None, None], self.episodes[jnp.maximum(episode, 0)])
    _, _, rows, columns, _ = attended.shape
    tiled = repeat(embedding, "b t d -> b t i j d", i=rows, j=columns)
    return self.decoder(jnp.concatenate([attended, tiled.astype(attended.dtype)], axis=-1), valid)
