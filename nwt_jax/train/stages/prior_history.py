"""Changes a prior's input history in training: its own guesses in place of true Memcodes, or no first frame."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from nwt_jax.types import Codes, Logits


def corrupt_history(codes: Codes, guesses: Logits, key: Array, rate: float) -> Codes:
  """Replaces symbols at the beginning of some clips by guesses of the prior, like the errors in its own samples.

  In a sample, the prior copies a wrong symbol from frame to frame. A guess is therefore drawn once per clip, position
  and head, and repeated in every frame that is changed.

  Args: codes: the true codes. guesses: logits of the prior without history, as at the start of a clip. rate: share of
    the clips that are changed.
  Returns: the codes; in a changed clip a random share of the symbols is guessed, up to a random frame or to the end.
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
