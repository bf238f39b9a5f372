"""Memcodes: multi-head hard attention sampled with Gumbel-max (paper 2.1.1, eq. 1-3).

Algorithm 1 (straight-through) is `straight_through`, with `gumbel` for its noise.
"""

from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from jaxtyping import Array, Float, Int

from nwt_jax.types import Codes, Logits

SAMPLERS = ("gumbel", "softmax", "argmax")


def gumbel(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Float[Array, "..."]:
  """Gumbel noise -log(-log(u)), u in (0, 1) open at both ends so that no value is infinite (Algorithm 1)."""
  tiny = jnp.finfo(dtype).tiny
  uniform = jax.random.uniform(key, shape, dtype, minval=tiny, maxval=1.0)
  return -jnp.log(-jnp.log(jnp.clip(uniform, tiny, 1.0 - jnp.finfo(dtype).epsneg)))


@jax.custom_vjp
def straight_through(logits: Float[Array, "... n"], noise: Float[Array, "... n"]) -> Float[Array, "... n"]:
  """One-hot of argmax(logits + noise), differentiated as softmax(logits + noise) (Algorithm 1).

  Args: logits: log-probabilities chi. noise: Gumbel noise G, or zeros.
  Returns: one-hot weights.
  """
  return jax.nn.one_hot(jnp.argmax(logits + noise, axis=-1), logits.shape[-1], dtype=logits.dtype)


def _straight_through_forward(logits, noise):
  return straight_through(logits, noise), jax.nn.softmax(logits + noise)


def _straight_through_backward(probs, cotangent):
  gradient = probs * (cotangent - jnp.sum(probs * cotangent, axis=-1, keepdims=True))
  return gradient, gradient


straight_through.defvjp(_straight_through_forward, _straight_through_backward)


def sample_onehot(logits: Float[Array, "... n"], key: Array | None, sampler: str) -> Float[Array, "... n"]:
  """Differentiable one-hot samples of softmax(logits).

  Args: sampler: "gumbel" is Algorithm 1; "softmax" draws the same samples, but its gradient goes through the softmax
    without the noise (the alternative of B.1.5); "argmax" is deterministic and needs no key (inference).
  Returns: one-hot weights of the logits' shape.
  Raises: ValueError: an unknown sampler, or a random one without a key.
  """
  if sampler not in SAMPLERS:
    raise ValueError(f"sampler {sampler!r} is unknown; choose one of {', '.join(SAMPLERS)}")
  if sampler == "argmax":
    return straight_through(logits, jnp.zeros_like(logits))
  if key is None:
    raise ValueError(f"sampler {sampler!r} draws noise and needs a key; pass one, or use 'argmax'")
  noise = gumbel(key, logits.shape, logits.dtype)
  if sampler == "gumbel":
    return straight_through(logits, noise)
  probs = jax.nn.softmax(logits)
  onehot = jax.nn.one_hot(jnp.argmax(logits + noise, axis=-1), logits.shape[-1], dtype=logits.dtype)
  return jax.lax.stop_gradient(onehot - probs) + probs


class Query(nn.Module):
  """The query projection, a linear layer whose start depends on data.

  GAP: the paper gives no initialisations. Over the positions that the module is initialised with, every unit has mean 0
  and standard deviation `std` (Salimans & Kingma 2016; Glow's actnorm, Kingma & Dhariwal 2018). Outputs of an untrained
  encoder have much in common: without this all queries point one way, few codes win, and the others are lost.
  """

  features: int
  std: float

  @nn.compact
  def __call__(self, x: Float[Array, "b t i j d"]) -> Float[Array, "b t i j q"]:
    def scaled(key):
      kernel = nn.initializers.lecun_normal()(key, (x.shape[-1], self.features))
      found = jnp.std(x @ kernel, axis=(0, 1, 2, 3))
      return kernel * (self.std / jnp.where(found > 0, found, 1.0))[None]

    kernel = self.param("kernel", scaled)
    bias = self.param("bias", lambda _: -jnp.mean(x @ kernel, axis=(0, 1, 2, 3)))
    return x @ kernel + bias[None, None, None, None]


class HardAttention(nn.Module):
  """Looks a shared codebook up once a head (eq. 2-3, B.1.2): keys and values are linear projections of the codebook.

  GAP: projections have biases, heads are concatenated with no projection after them (Vaswani et al. 2017, on which the
  paper builds, have one), and the codebook starts from N(0, 1)."""

  num_heads: int
  num_codes: int
  code_dim: int
  features: int
  query_init: float  # standard deviation of the queries at initialisation

  def setup(self) -> None:
    if self.num_heads < 1 or self.features % self.num_heads:
      raise ValueError(f"attention width {self.features} is no multiple of {self.num_heads} heads; change one of them")
    if self.num_codes > 256:
      raise ValueError(f"{self.num_codes} codes a head do not fit the byte that a code is kept in; use 256 or fewer")
    self.codebook = self.param("codebook", nn.initializers.normal(1.0), (self.num_codes, self.code_dim))
    self.query = Query(self.features, self.query_init)
    self.key = nn.Dense(self.features)
    self.value = nn.Dense(self.features)

  def logits(self, x: Float[Array, "b t i j d"]) -> Logits:
    """Scaled dot products of queries with the keys: chi of eq. 3, before noise and softmax."""
    query = rearrange(self.query(x), "b t i j (k d) -> b t i j k d", k=self.num_heads)
    keys = rearrange(self.key(self.codebook), "n (k d) -> n k d", k=self.num_heads)
    # Noise and softmax are float32 whatever computes the products
    exact = jnp.promote_types(query.dtype, jnp.float32)
    products = jnp.einsum("btijkd,nkd->btijkn", query, keys, preferred_element_type=exact)
    return products / jnp.sqrt(self.features / self.num_heads)

  def attend(self, onehot: Float[Array, "b t i j k n"]) -> Float[Array, "b t i j d"]:
    """e_alpha V of eq. 2, heads concatenated."""
    values = rearrange(self.value(self.codebook), "n (k d) -> n k d", k=self.num_heads)
    return rearrange(
      jnp.einsum("btijkn,nkd->btijkd", onehot.astype(values.dtype), values), "b t i j k d -> b t i j (k d)"
    )

  def lookup(self, codes: Codes) -> Float[Array, "b t i j d"]:
    """The attention output for given Memcodes."""
    return self.attend(jax.nn.one_hot(codes, self.num_codes, dtype=self.codebook.dtype))

  def __call__(
    self, x: Float[Array, "b t i j d"], key: Array | None, sampler: str
  ) -> tuple[Float[Array, "b t i j _"], Logits, Float[Array, "b t i j k n"]]:
    """Returns: the attention output [b t i j d], the logits [b t i j k n] and the one-hot samples."""
    logits = self.logits(x)
    onehot = sample_onehot(logits, key, sampler)
    return self.attend(onehot), logits, onehot


def hamming(first: Int[Array, "... k"], second: Int[Array, "... k"]) -> Float[Array, "..."]:
  """Share of heads in which two Memcodes differ (eq. 10)."""
  return jnp.mean(first != second, axis=-1)
