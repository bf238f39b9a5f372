"""Control of style: sample it, copy it from a clip, set single variates (paper 3.5, B.2.2)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from nwt_jax.generate.style_text import parse
from nwt_jax.models.prior import Prior
from nwt_jax.types import Codes, Style, StyleTrack


def sample(model: Prior, keys: Key[Array, " b"]) -> Style:
  """Style sampling: one draw from N(0, I) for each key."""
  return jax.vmap(lambda key: jax.random.normal(key, (model.style_dim,)))(keys)


def draw(model: Prior, variables: dict, key: Key[Array, ""], episode: int) -> Style:
  """Style sampling from the training clips: a draw from the posterior of a random clip of the episode.

  DEPARTS: B.2.2 draws from N(0, I) (`sample`), and so does this for a release without a collection "styles" (`bank`).
  For small models the aggregate posterior covers little of N(0, I), and samples off it do not decode to a recognisable
  person. Fitting the density of latents after training is known from Ghosh et al., "From variational to deterministic
  autoencoders" (2020).

  Args: episode: number of the episode; where no clip of the bank has it, any clip may be chosen. Returns: [1 z]."""
  if "styles" not in variables:
    return sample(model, key[None])
  pick, noise = jax.random.split(key)
  styles = variables["styles"]
  same = np.flatnonzero(np.asarray(styles["episode"]) == episode)
  clips = same if same.size else np.arange(len(styles["episode"]))
  clip = clips[int(jax.random.randint(pick, (), 0, len(clips)))]
  return (styles["mean"][clip] + jnp.exp(styles["log_std"][clip]) * sample(model, noise[None])[0])[None]


def draw_track(model: Prior, variables: dict, key: Key[Array, ""], numbers: np.ndarray) -> StyleTrack:
  """Draws the style of each part of a video whose episode changes: with a bank every episode has its own draw.

  A style of one episode's clips gives a less sharp picture of another episode's person.

  Args: numbers: the episode of each part [c]. Returns: [1 z] for one episode, else [1 c z].
  """
  found, which = np.unique(numbers, return_inverse=True)
  drawn = jnp.concatenate([draw(model, variables, key, int(number)) for number in found])
  return drawn if len(found) == 1 else drawn[which][None]


def bank(model: Prior, variables: dict, codes: Codes, episode: Int[Array, " b"]) -> dict:
  """Computes the collection "styles" that `draw` draws from: the posterior and the episode of each clip.

  Args: codes: windows of training clips [b t i j k]. episode: their episodes."""
  mean, log_std = model.apply(variables, codes, method="style_posterior")
  return {"mean": mean, "log_std": log_std, "episode": episode}


def reading_key(sampler: str | None) -> Key[Array, ""] | None:
  """Returns the key that the Memcodes of a style clip are drawn with.

  Args: sampler: the sampler of the tokens that the prior was trained on, from its card; None, as in the shipped cards,
    means "argmax".
  Returns: for "gumbel" the same key for every clip, so that a clip has one style (GAP); otherwise None, with which the
    likeliest Memcodes are taken."""
  return jax.random.key(0) if sampler == "gumbel" else None


def copy(model: Prior, params: Any, codes: Codes, keys: Key[Array, " b"] | None = None) -> Style:
  """Style copying: encodes the style of reference clips. `api.NWT.style_of` calls it on frames of any length.

  Args: codes: Memcodes of the references [b t i j k]. keys: draw from the posterior, as the paper does; None takes its
    mean, which is the same at every call."""
  mean, log_std = model.apply(params, codes, method="style_posterior")
  return mean if keys is None else mean + jnp.exp(log_std) * sample(model, keys)


def edit(style: StyleTrack, text: str) -> StyleTrack:
  """Sets variates by hand.

  Args: text: see `style_text.parse`. Returns: the style with every clip's variates set. Raises: see there."""
  variates, values = parse(text, style.shape[-1])
  return style.at[..., jnp.array(variates)].set(jnp.array(values, style.dtype))
