"""Options of sampling for a machine: those of XLA, and how many positions MAR draws together.

An option of XLA's is given to the program that needs it, not to the process: nothing depends on the order of imports.

How many positions MAR draws together goes by several names, from the outside in:

- `positions` (`NWT.from_checkpoint`, SamplingOptions): the user's choice; `places`, as in --places, is its older name;
- `most` (`generate.mar.fold`, `init_state`, `mar_tiles.tile_size`): the upper bound on the positions of a tile. It is
  `positions`, or `mar_tiles.TILE` (8) where `positions` is 1 or a caller of `generate.mar` gives none;
- a tile: its size is the largest number up to `most` that divides the positions of a frame;
- `parallel` (`generate.mar.sample_chunk`): whether a tile's Memcodes are drawn together; `generate.sampler` sets it to
  `positions` > 1.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from nwt_jax.errors import InputError

# Through jax 0.10.2 the default leaves loops out of CUDA graphs, and the list that is given replaces it.
CAPTURED = "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,CONVOLUTION,DYNAMIC_SLICE_FUSION,CONDITIONAL,WHILE"
GRAPH = {
  # A chunk is one CUDA graph: no kernel is launched by the host. Needs driver and runtime of CUDA 12.3 or newer.
  "xla_gpu_enable_command_buffer": CAPTURED,
  "xla_gpu_graph_min_graph_size": 1,
  # The first would write the products of a matrix and a vector to memory before it sums them; the second would turn
  # slices that loops read into copies that no graph can hold.
  "xla_disable_hlo_passes": "dot-strength-reduction,fusion-dynamic-memcpy-rewriter",
}


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
  """Options of sampling; but for rounding, no choice except the precision changes a sample.

  compiler_options: XLA's options, for `jax.jit`. dtype: type of the decoder's weights and caches. positions: Memcodes
  that MAR draws together, at most; 1 draws them one after the other.
  """

  compiler_options: Mapping[str, str | int]
  dtype: jnp.dtype
  positions: int

  def __str__(self) -> str:
    options = " ".join(f"{name}={value}" for name, value in self.compiler_options.items())
    return f"{self.dtype.name}, XLA with {options or 'its defaults'}"


def sampling_options(
  backend: str | None = None, precision: str = "float32", positions: int | None = None
) -> SamplingOptions:
  """Returns the options for a backend.

  Args: backend: "cpu", "gpu" or "tpu"; None: the one in use. precision: "float32" or "bfloat16". positions: see
    SamplingOptions; None: 14 on a CPU, where more cost more than they save (docs/speed.md), else 56, for devices where
    decoding is memory-bandwidth bound.
  Raises: InputError: an unknown precision, or less than one position.
  """
  if precision not in ("float32", "bfloat16"):
    raise InputError(f"precision {precision!r} is unknown; choose float32 or bfloat16")
  if positions is not None and positions < 1:
    raise InputError(
      f"{positions} positions together is less than one; 1 draws Memcodes one after the other, 14 or 56 are usual"
    )
  backend = jax.default_backend() if backend is None else backend
  usual = 14 if backend == "cpu" else 56
  return SamplingOptions(
    GRAPH if backend == "gpu" else {}, jnp.dtype(precision), usual if positions is None else positions
  )
