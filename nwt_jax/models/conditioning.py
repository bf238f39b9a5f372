"""Conditioning of a prior: audio, style and episode, and how they meet the decoder (paper B.2, B.3)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Int

from nwt_jax.models.causal import add_bias, conv_frames, conv_memcodes, for_mish, mish
from nwt_jax.models.spatial import keep_valid, same_margins, time_margins
from nwt_jax.types import Episode


class CodeEmbedding(nn.Module):
  """Embeds the heads of Memcodes with one table of codes and concatenates them (Tables 5-6, "vocab_size = 8").

  GAP: the tables do not say how eight heads share one embedding. Code `num_codes` means "empty": the start of a clip,
  and FAR's padding. GAP: it embeds as zeros, or, with `learned_empty`, as a row of its own."""

  num_codes: int
  features: int
  learned_empty: bool

  @nn.compact
  def __call__(self, codes: Int[Array, "... k"]) -> Float[Array, "... d"]:
    rows = self.num_codes + self.learned_empty
    table = self.param("table", nn.initializers.normal(1.0), (rows, self.features))
    onehot = jax.nn.one_hot(codes, rows, dtype=table.dtype)
    return rearrange(jnp.einsum("...n,nd->...d", onehot, table), "... k d -> ... (k d)")


class EpisodeEmbedding(nn.Module):
  """A vector for each episode (B.3). GAP: -1, an unseen or unnamed episode, gets their mean."""

  num_episodes: int
  features: int

  @nn.compact
  def __call__(self, episode: Episode) -> Float[Array, "b t e"]:
    table = self.param("table", nn.initializers.normal(1.0), (self.num_episodes, self.features))
    mean = jnp.mean(table, axis=0)[None, None]
    return jnp.where(episode[..., None] < 0, mean, jnp.take(table, jnp.maximum(episode, 0), axis=0))


class AudioEncoder(nn.Module):
  """Mel spectrogram to one vector a video frame: the Conv1D rows of Tables 5-6, each with Mish.

  PAPER: Tables 5-6 print kernel 3, stride 3 for the first row. DEPARTS: its stride is the mel frames in a video frame
  (sample rate / (hop * fps) = 4), as 40 vectors a second do not meet 30 frames, and its kernel skips no mel frame.
  GAP: padding: a vector depends on as many frames before its own as after."""

  rows: tuple[tuple[int, int, int], ...]  # (kernel, dilation, features); the first row strides by `stride`
  stride: int
  mel_shift: float  # GAP: input scaling, (mel + shift) * scale
  mel_scale: float
  causal: bool = False  # no vector depends on a later frame

  @nn.compact
  def __call__(self, mel: Float[Array, "b s m"], valid: Array | None = None) -> Float[Array, "b t d"]:
    """Args: mel: natural-log mel, s = stride * frames. valid: [b t], the frames inside the clip."""
    assert mel.shape[1] % self.stride == 0, (mel.shape, self.stride)
    x = (mel + self.mel_shift) * self.mel_scale
    x = keep_valid(x, None if valid is None else jnp.repeat(valid, self.stride, axis=1))
    (kernel, _, features), *rest = self.rows
    margins = time_margins(max(kernel - self.stride, 0) + 1, 1, self.causal)
    x = mish(nn.Conv(features, (kernel,), self.stride, [margins], kernel_init=for_mish, name="conv_0")(x))
    x = keep_valid(x, valid)
    for n, (kernel, dilation, features) in enumerate(rest, 1):
      weight = self.param(f"conv_{n}_kernel", for_mish, (kernel, x.shape[-1], features))
      bias = self.param(f"conv_{n}_bias", nn.initializers.zeros, (features,))
      padded = jnp.pad(x, ((0, 0), time_margins(kernel, dilation, self.causal), (0, 0)))
      x = keep_valid(mish(add_bias(conv_memcodes(padded, weight, dilation, x.shape[1], 0), bias)), valid)
    return x


def audio_margins(
  audio_rows: tuple[tuple[int, int, int], ...], stride: int, tower_layers: int, tower_kernel: int, causal: bool
) -> tuple[int, int]:
  """Frames before and after a frame that its audio features depend on: what a chunk's window must overlap by."""
  first = time_margins(max(audio_rows[0][0] - stride, 0) + 1, 1, causal)
  before, after = (-(-steps // stride) for steps in first)
  for kernel, dilation in [row[:2] for row in audio_rows[1:]] + [(tower_kernel, 1)] * tower_layers:
    margins = time_margins(kernel, dilation, causal)
    before, after = before + margins[0], after + margins[1]
  return before, after


class StyleEncoder(nn.Module):
  """Embedded Memcodes of a clip to its style's posterior: convolutions, average pooling, mean and log std (B.2.2)."""

  rows: tuple[tuple[tuple[int, int, int], int, int, int], ...]  # (kernel, dilation in time, stride in space, features)
  style_dim: int
  min_log_std: float

  @nn.compact
  def __call__(
    self, x: Float[Array, "b t i j d"], valid: Array | None = None
  ) -> tuple[Float[Array, "b z"], Float[Array, "b z"]]:
    x = keep_valid(x, valid)
    for n, (kernel, dilation, stride, features) in enumerate(self.rows):
      weight = self.param(f"conv_{n}_kernel", for_mish, (*kernel, x.shape[-1], features))
      bias = self.param(f"conv_{n}_bias", nn.initializers.zeros, (features,))
      padded = jnp.pad(x, ((0, 0), same_margins(kernel[0], dilation), (0, 0), (0, 0), (0, 0)))
      x = keep_valid(mish(add_bias(conv_frames(padded, weight, dilation, stride), bias)), valid)
    frames = x.shape[1] if valid is None else jnp.maximum(jnp.sum(valid.astype(x.dtype), axis=1), 1)[:, None]
    pooled = jnp.sum(jnp.mean(x, axis=(2, 3)), axis=1) / frames
    # A small start (GAP): the posterior begins near the prior, and the KL near 0.
    start = nn.initializers.variance_scaling(0.1, "fan_in", "uniform")
    # DEPARTS: Tables 5-6 do not print "Linear" at this row. Mish, "unless otherwise specified", would bound mean and
    # log std from below, at -0.31
    mean, log_std = jnp.split(nn.Dense(2 * self.style_dim, kernel_init=start, name="posterior")(pooled), 2, axis=-1)
    return mean, jnp.maximum(log_std, self.min_log_std)  # PAPER: C.2.2, minimum std exp(-4)


class ConcatLinear(nn.Module):
  """The linear projection of (activations, audio, style, episode) before a residual block (B.2.3, B.3).

  concat(x, c) @ W = x @ Wx + c @ Wc, so what needs no activations is computed outside the decoding loop.
  GAP: audio's share of W starts at zero. Drawn like the rest, speech enters the decoder as noise, which small priors
  learn to suppress in their first updates, before they could learn to use it."""

  widths: tuple[int, int, int, int]  # activations, audio, style, episode
  features: int

  def setup(self) -> None:
    def start(key, shape, dtype=jnp.float32):
      x, audio, _, _ = self.widths
      return nn.initializers.lecun_uniform()(key, shape, dtype).at[x : x + audio].set(0)

    self.kernel = self.param("kernel", start, (sum(self.widths), self.features))
    self.bias = self.param("bias", nn.initializers.zeros, (self.features,))

  def condition(
    self, audio: Float[Array, "b t i j a"], style: Float[Array, "b _ i j s"], episode: Float[Array, "b t e"]
  ) -> Float[Array, "b t i j f"]:
    """The part of the projection that decoding does not change, bias included."""
    x, a, s, _ = self.widths
    _, for_audio, for_style, for_episode = jnp.split(self.kernel, (x, x + a, x + a + s))
    return add_bias(audio @ for_audio + style @ for_style + (episode @ for_episode)[:, :, None, None], self.bias)

  def __call__(self, x: Float[Array, "b t ... d"], condition: Float[Array, "b t ... f"]) -> Float[Array, "b t ... f"]:
    return jnp.einsum("...d,df->...f", x, self.kernel[: self.widths[0]]) + condition
