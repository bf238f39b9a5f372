"""Histories that a prior is trained on in place of the true one: with its own guesses in them, or no first frame."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from nwt_jax.types import Codes, Logits


def corrupt_history(codes: Codes, guesses: Logits, key: Array, rate: float) -> Codes:
  """Replaces symbols at the beginning of some clips by guesses of the prior, as its own samples may have them.

  A guess is drawn once a clip for each position and head, so that it is the same from frame to frame, as copies are.

  Args: codes: the true ones. guesses: logits of a prior that sees no history, as at the start of a clip. rate: share of
    the clips that are changed.
  Returns: codes in which, in such a clip, a random share of the heads is guessed up to a random frame, or to its end.
  """
  clips, frames = codes.shape[:2]
  key_clip, key_share, key_until, key_head, key_draw = jax.random.split(key, 5)
  one_a_clip = lambda key: jax.random.uniform(key, (clips, 1, 1, 1, 1))
  gumbel = jax.random.gumbel(key_draw, (clips, 1, *guesses.shape[2:]))
  share = jnp.where(one_a_clip(key_clip) < rate, one_a_clip(key_share), 0)
  guessed = jax.random.uniform(key_head, (clips, 1, *codes.shape[2:])) < share
  early = jnp.arange(frames).reshape(1, frames, 1, 1, 1) < 1.5 * frames * one_a_clip(key_until)
  return jnp.where(guessed & early, jnp.argmax(guesses + gumbel, axis=-1), codes)


def drop_first_frame(history: Codes, empty: int, key: Array, rate: float) -> Codes:
  """Replaces the first frame of some clips by code `empty`, which stands for no Memcode.

  This is word dropout (Bowman et al. 2016, arXiv 1511.06349) of one frame.

  Args: empty: the number of codes. rate: share of the clips that are changed.
  """
  dropped = jax.random.uniform(key, (history.shape[0], 1, 1, 1)) < rate
  return history.at[:, 0].set(jnp.where(dropped, empty, history[:, 0]))
