"""From plain fields to modules and optimisers: the one place that knows both configs and models."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import optax
from jax import Array
from ml_collections import ConfigDict

from nwt_jax.errors import ConfigError
from nwt_jax.io.mel import MEL_BINS
from nwt_jax.models.critics import Critics
from nwt_jax.models.dvae import DVAE
from nwt_jax.models.far import FAR
from nwt_jax.models.mar import MAR
from nwt_jax.models.memcodes import SAMPLERS
from nwt_jax.models.prior import Prior
from nwt_jax.objectives.dvae import CRITICS, RECONSTRUCTIONS, LossWeights

PRIORS = {"far": FAR, "mar": MAR}

QUICK_COMPILE = {"xla_backend_optimization_level": 0}  # for what runs once, such as drawing parameters

Fields = Mapping[str, Any] | ConfigDict  # a config's part, or a model card's


def frozen(value: Any) -> Any:
  """Returns nested lists as tuples: JSON and ConfigDict give lists, and linen fields must be hashable."""
  return tuple(frozen(item) for item in value) if isinstance(value, list | tuple) else value


def _module(cls, fields: Fields):
  fields = dict(fields)
  known = {f.name: f for f in dataclasses.fields(cls) if f.init and f.name not in ("parent", "name")}
  lacking = [name for name, f in known.items() if name not in fields and f.default is dataclasses.MISSING]
  if wrong := [f"no {name}" for name in lacking] + [f"{name} is unknown" for name in fields if name not in known]:
    raise ConfigError(f"{cls.__name__} does not fit its fields ({', '.join(wrong)}); use a config or card of its kind")
  return cls(**{name: frozen(value) for name, value in fields.items()})


def dvae(fields: Fields, remat: bool = False) -> DVAE:
  """Makes the generator of stage 1 from a config's or a card's `model`; `remat` saves memory in training."""
  return _module(DVAE, {**dict(fields), "remat": remat})


def critics(layers: Sequence, num_classes: int) -> Critics:
  """Makes the critics of stage 1 from a config's `critics`, with a class head where there are classes (A.2)."""
  return Critics(frozen(layers), num_classes)


def prior(family: str, fields: Fields, remat: bool = False) -> Prior:
  """Makes a stage-2 model, by its family; `remat` saves memory in training."""
  if family not in PRIORS:
    raise ConfigError(f"prior family {family!r} is unknown; choose one of {', '.join(PRIORS)}")
  return _module(PRIORS[family], {**dict(fields), "remat": remat})


def dvae_loss_weights(fields: Fields) -> LossWeights:
  """Makes the weights of stage 1's objective from a config's `objective`.

  Raises: InputError: a field names none of its choices.
  """
  for name, choices in (("reconstruction", RECONSTRUCTIONS), ("critics", CRITICS), ("sampler", SAMPLERS)):
    if fields[name] not in choices:
      raise ConfigError(f"--config.objective.{name} is {fields[name]!r}; choose one of {', '.join(choices)}")
  return LossWeights(**dict(fields))


def learning_rate(fields: Fields) -> optax.Schedule:
  """Makes a schedule: constant (C.2.1), or halving every `half_life` updates to `min_learning_rate` (C.2.2).

  A linear warm-up comes before it where `warmup` is not 0.
  """
  rate, warmup = fields["learning_rate"], fields.get("warmup", 0)
  if fields.get("half_life", 0):
    # GAP: "exponentially decaying by half every 50,000 updates": smooth, not in stairs.
    schedule = optax.exponential_decay(rate, fields["half_life"], 0.5, end_value=fields["min_learning_rate"])
  else:
    schedule = optax.constant_schedule(rate)
  if not warmup:
    return schedule
  return lambda step: schedule(step) * optax.linear_schedule(1.0 / warmup, 1.0, warmup)(step)


def optimiser(fields: Fields) -> optax.GradientTransformation:
  """Makes Adam as C.2 gives it, with an optional clip of the gradient's norm; it skips updates that are not finite."""
  adam = optax.adam(learning_rate(fields), b1=fields["b1"], b2=fields["b2"], eps=fields["eps"])
  clipped = optax.chain(optax.clip_by_global_norm(fields["clip"]), adam) if fields.get("clip", 0) else adam
  return optax.apply_if_finite(clipped, max_consecutive_errors=2**31 - 2)  # train.loop stops long before


def init_prior(module: Prior, key: Array) -> dict:
  """Draws all parameters of a prior; the shapes of its inputs follow from its fields."""
  codes = jnp.zeros((1, 2, *module.grid, module.num_heads), jnp.int32)
  mel = jnp.zeros((1, 2 * module.mel_stride, MEL_BINS), jnp.float32)
  episode, noise = jnp.zeros((1, 2), jnp.int32), jnp.zeros((1, module.style_dim), jnp.float32)
  return module.init(key, codes, mel, episode, noise, method="reconstruct")
