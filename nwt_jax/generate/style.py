"""Control of style: sample it, copy it from a clip, set single variates (paper 3.5, B.2.2)."""

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
  """Style sampling from what training met: the posterior of a random training clip of the episode.

  DEPARTS: B.2.2 draws from N(0, I) (`sample`), and so does this for a release without a collection "styles" (`bank`).
  A small prior's posteriors fill little of N(0, I), and what lies between them draws nobody. Fitting the density of
  latents after training is known from Ghosh et al., "From variational to deterministic autoencoders" (2020).

  Args: episode: its number; one that no clip of the bank has takes any clip. Returns: [1 z]."""
  if "styles" not in variables:
    return sample(model, key[None])
  pick, noise = jax.random.split(key)
  styles = variables["styles"]
  same = np.flatnonzero(np.asarray(styles["episode"]) == episode)
  clips = same if same.size else np.arange(len(styles["episode"]))
  clip = clips[int(jax.random.randint(pick, (), 0, len(clips)))]
  return (styles["mean"][clip] + jnp.exp(styles["log_std"][clip]) * sample(model, noise[None])[0])[None]


def draw_track(model: Prior, variables: dict, key: Key[Array, ""], numbers: np.ndarray) -> StyleTrack:
  """The style of each frame where the episode changes on the way: with a bank every episode has its own draw.

  Held from one episode to the next, a style of the first one's clips draws the second one's person less sharply.

  Args: numbers: the episode of each frame [t]. Returns: [1 z] for one episode, else [1 t z].
  """
  found, places = np.unique(numbers, return_inverse=True)
  drawn = jnp.concatenate([draw(model, variables, key, int(number)) for number in found])
  return drawn if len(found) == 1 else drawn[places][None]


def bank(model: Prior, variables: dict, codes: Codes, episode: Int[Array, " b"]) -> dict:
  """The collection "styles" that `draw` draws from. Args: codes: windows of training clips [b t i j k]."""
  mean, log_std = model.apply(variables, codes, method="style_posterior")
  return {"mean": mean, "log_std": log_std, "episode": episode}


def reading_key(sampler: str | None) -> Key[Array, ""] | None:
  """What the Memcodes of a style clip are drawn with.

  Args: sampler: of the tokens that the prior learned from, as its card has it; None, as in the shipped ones: "argmax".
  Returns: for "gumbel" one key for every clip, so that a clip has one style (GAP); None: the likeliest are taken."""
  return jax.random.key(0) if sampler == "gumbel" else None


def copy(model: Prior, params, codes: Codes, keys: Key[Array, " b"] | None = None) -> Style:
  """Style copying: the posterior of reference clips.

  Args: codes: Memcodes of the references [b t i j k]. keys: draw from the posterior, as the paper does; None takes its
    mean, which is the same at every call."""
  mean, log_std = model.apply(params, codes, method="style_posterior")
  return mean if keys is None else mean + jnp.exp(log_std) * sample(model, keys)


def edit(style: StyleTrack, text: str) -> StyleTrack:
  """Sets variates by hand.

  Args: text: see variates.parse, and what it raises. Returns: the style with every clip's variates set."""
  variates, values = parse(text, style.shape[-1])
  return style.at[..., jnp.array(variates)].set(jnp.array(values, style.dtype))
