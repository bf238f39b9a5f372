"""Tiny priors for tests: filled in NumPy, because compiling an initialiser takes longer than most tests."""

import functools
import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np

from nwt_jax.models.far import FAR
from nwt_jax.models.mar import MAR

# Tests compile far more than they run.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
FAMILIES = {"far": FAR, "mar": MAR}


def model(family: str, arg: str = "tiny", **changes):
  """The module of configs/{family}.py:{arg}, with some fields changed."""
  fields = importlib.import_module(f"configs.{family}").get_config(arg).model
  return FAMILIES[family](**{**fields, **changes})


def shapes(module, frames: int = 2):
  """The variables' shapes; nothing is allocated."""
  array = jax.ShapeDtypeStruct
  inputs = (
    array((1, frames, *module.grid, module.num_heads), jnp.int32),
    array((1, frames * module.mel_stride, 80), jnp.float32),
    array((1, frames), jnp.int32),
    array((1, module.style_dim), jnp.float32),
  )
  return jax.eval_shape(
    lambda key, *inputs: module.init(key, *inputs, method="reconstruct"), jax.random.key(0), *inputs
  )


def count(variables) -> int:
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))


def parameters(module, seed: int = 0, dtype=np.float32):
  """Random variables: every layer passes signals on at about their size, and biases are not zero."""
  draw = np.random.default_rng(seed)

  def fill(path, leaf):
    name = path[-1].key
    if name.endswith("bias"):
      scale = 0.2
    elif name.endswith("table"):
      scale = 1.0
    else:  # fan-in: for SC3D kernels a place's patch, for others all axes but the last
      fan_in = leaf.shape[2] if "stage" in path[-2].key else math.prod(leaf.shape[:-1])
      scale = 1.4 / math.sqrt(fan_in)
    return jnp.asarray(scale * draw.standard_normal(leaf.shape), dtype)

  return jax.tree_util.tree_map_with_path(fill, shapes(module))


def batch(module, frames: int, size: int = 2, seed: int = 1, dtype=np.float32) -> dict:
  """Inputs of `size` clips: codes, mel, style, episode (changing within a clip, and -1 at its end)."""
  draw = np.random.default_rng(seed)
  episode = draw.integers(0, module.num_episodes, (size, frames)).astype(np.int32)
  episode[:, -1] = -1
  inputs = {
    "codes": draw.integers(0, module.num_codes, (size, frames, *module.grid, module.num_heads)).astype(np.int32),
    "mel": draw.normal(-5, 3, (size, frames * module.mel_stride, 80)).astype(dtype),
    "style": draw.standard_normal((size, module.style_dim)).astype(dtype),
    "episode": episode,
  }
  return jax.tree.map(jnp.asarray, inputs)


def conditions(inputs: dict) -> tuple:
  """The arguments of `condition`."""
  return inputs["mel"], inputs["style"], inputs["episode"]


def influence(function, x: np.ndarray) -> np.ndarray:
  """Largest absolute derivative of each output row by each input row, for function: [s d] -> [t ...]."""
  jacobian = jit(jax.jacrev(function))(jnp.asarray(x))  # [t ... s d]
  rows = np.abs(np.asarray(jacobian)).reshape(jacobian.shape[0], -1, *x.shape)
  return rows.max(axis=(1, 3))
