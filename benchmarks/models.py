"""Priors to measure: random weights of any size from NumPy, inputs, and the check that a sample is one of ours."""

import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from einops import rearrange

from nwt_jax import build
from nwt_jax.generate import mar
from nwt_jax.generate.noise import frame_noise
from nwt_jax.generate.verify import resample
from nwt_jax.objectives.prior import memcode_cross_entropy

ADAM = {"learning_rate": 1e-4, "b1": 0.9, "b2": 0.999, "eps": 1e-7}  # C.2.2
DECODER = ("embed", "linears", "residual", "logits")  # what MAR's steps read, by the beginnings of names


def model(family: str, arg: str = "tiny", **changes):
  """The module of configs/{family}.py:{arg}, with some fields changed."""
  fields = importlib.import_module(f"nwt_jax.configs.{family}").get_config(arg).model
  return build.prior(family, {**fields, **changes})


def shapes(module, frames: int = 2):
  """The variables' shapes; nothing is allocated."""
  array = jax.ShapeDtypeStruct
  inputs = (
    array((1, frames, *module.grid, module.num_heads), jnp.int32),
    array((1, frames * module.mel_stride, build.MEL_BINS), jnp.float32),
    array((1, frames), jnp.int32),
    array((1, module.style_dim), jnp.float32),
  )
  return jax.eval_shape(
    lambda key, *inputs: module.init(key, *inputs, method="reconstruct"), jax.random.key(0), *inputs
  )


def parameters(module, seed: int = 0, dtype=np.float32):
  """Random variables: every layer passes signals on at about their size, and biases are not zero."""
  return fill(shapes(module), seed, dtype)


def fill(tree, seed: int = 0, dtype=np.float32):
  """Numbers for a tree of shapes: parameters as above; optimisers begin, and counters and keys are zero."""
  draw = np.random.default_rng(seed)

  def one(path, leaf):
    *above, name = (str(getattr(part, "key", getattr(part, "name", part))) for part in path)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      return jax.random.key(0)
    if not jnp.issubdtype(leaf.dtype, jnp.floating) or {"mu", "nu"} & set(above):
      return jnp.zeros(leaf.shape, leaf.dtype)
    if name.endswith("bias"):
      scale = 0.2
    elif name.endswith("kernel"):  # fan-in: for SC3D kernels a place's patch, for others all axes but the last
      fan_in = leaf.shape[2] if "stage" in above[-1] else math.prod(leaf.shape[:-1])
      scale = 1.4 / math.sqrt(fan_in)
    else:
      scale = 1.0
    return jnp.asarray(scale * draw.standard_normal(leaf.shape), dtype)

  return jax.tree_util.tree_map_with_path(one, tree)


def read_a_memcode(module, most: int, dtype, evaluations: float = 1.0) -> float:
  """Bytes of folded weights that MAR reads for a Memcode, if each product reads its weights once.

  Args: most: positions in a tile. evaluations: of the decoder for a Memcode; 1 where each is drawn after the other."""
  weights = jax.eval_shape(lambda: mar.fold(module, parameters_shaped(module), dtype, most))
  size = mar.tile_size(module, most)
  often = lambda tree: sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
  cond = often([(block.cond, block.cond_shortcut) for block in weights.blocks])
  tables = often([weights.blocks[0].enter, weights.blocks[0].rows[0].older])  # of which a few rows are read
  steps = often(weights) - often(weights.early) - cond - tables
  return steps * evaluations + often(weights.early) / size + cond / mar.segment_length(module, size)


def parameters_shaped(module):
  """Zeros where parameters would be, for shapes alone."""
  return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes(module))


def batch(module, frames: int, size: int = 2, seed: int = 1, dtype=np.float32) -> dict:
  """Inputs of `size` clips: codes, mel, style, episode (changing within a clip, and -1 at its end)."""
  draw = np.random.default_rng(seed)
  episode = draw.integers(0, module.num_episodes, (size, frames)).astype(np.int32)
  episode[:, -1] = -1
  inputs = {
    "codes": draw.integers(0, module.num_codes, (size, frames, *module.grid, module.num_heads)).astype(np.int32),
    "mel": draw.normal(-5, 3, (size, frames * module.mel_stride, build.MEL_BINS)).astype(dtype),
    "style": draw.standard_normal((size, module.style_dim)).astype(dtype),
    "episode": episode,
  }
  return jax.tree.map(jnp.asarray, inputs)


def conditions(inputs: dict) -> tuple:
  """The arguments of `condition`."""
  return inputs["mel"], inputs["style"], inputs["episode"]


def clip_noise(module, keys, frames: int) -> jax.Array:
  """The noise of the first frames of clips, [b t i j k n]: what our samplers draw frame by frame."""
  shape = (*module.grid, module.num_heads, module.num_codes)
  return jax.vmap(lambda t: frame_noise(keys, t, shape), out_axes=1)(jnp.arange(frames))


def equality(module, params, inputs: dict, codes: np.ndarray, keys, temperature: float = 1.0) -> dict:
  """Whether a sample, whoever drew it, is the one that our model draws with the same noise.

  Our model draws every code again from the codes before it, without a cache. Where all are equal, the sample is ours
  code for code; each that is not is a first difference, and rounding explains it where the two best scores nearly tie.

  Args: inputs: as `batch` gives them, of as many frames as `codes` [b t i j k] has. keys: one a clip.
  Returns: `equal` (fraction of the codes), `differences`, `largest_gap` (of the two best scores where codes differ, in
    nats; None where none do) and `median_gap` of all."""

  @jax.jit
  def again(params, codes, mel, style, episode):
    return resample(module, params, codes, mel, style, episode, keys, temperature)

  drawn, gap = jax.device_get(again(params, jnp.asarray(codes, jnp.int32), *conditions(inputs)))
  differ = drawn != np.asarray(codes)
  return {
    "equal": float(1 - differ.mean()),
    "differences": int(differ.sum()),
    "largest_gap": float(gap[differ].max()) if differ.any() else None,
    "median_gap": float(np.median(gap)),
  }


def decoder_training(module, params):
  """One update of MAR's decoder alone, as torch_peer/training.py has it: teacher-forced cross-entropy and Adam.

  Returns: the state at the start, and, to be jitted, update(state, codes [b t i j k], condition) -> (state, loss)."""
  tx = optax.adam(**ADAM)
  decoder = {"params": {name: part for name, part in params["params"].items() if name.split("_")[0] in DECODER}}

  def loss(decoder, codes, condition):
    flat = rearrange(codes, "b t i j k -> b (t i j) k")
    previous = jnp.pad(flat[:, :-1], ((0, 0), (1, 0), (0, 0)), constant_values=module.num_codes)
    cond = tuple(rearrange(share, "b t p f -> b (t p) f") for share in condition)
    logits, _ = module.apply(decoder, None, previous, cond, 0, method="window")
    logits = rearrange(logits, "b (t i j) k n -> b t i j k n", t=codes.shape[1], i=codes.shape[2])
    return jnp.mean(memcode_cross_entropy(logits, codes))

  def update(state, codes, condition):
    decoder, opt = state
    value, grads = jax.value_and_grad(loss)(decoder, codes, condition)
    updates, opt = tx.update(grads, opt, decoder)
    return (optax.apply_updates(decoder, updates), opt), value

  return (decoder, tx.init(decoder)), update
