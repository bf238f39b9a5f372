"""How sampling runs on a machine: what XLA is told there, and how many places MAR draws together.

An option of XLA's is given to the program that needs it, not to the process: nothing depends on the order of imports.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from nwt_jax.errors import InputError

# Through 0.10.2 the default leaves loops out of CUDA graphs, and the list that is given replaces it.
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
class Settings:
  """How sampling runs; but for rounding, no choice except the precision changes a sample.

  compiler_options: of XLA, for `jax.jit`. dtype: of decoder weights and caches. places: Memcodes that MAR draws
  together, at most; 1 draws them in turn.
  """

  compiler_options: Mapping[str, str | int]
  dtype: jnp.dtype
  places: int

  def __str__(self) -> str:
    options = " ".join(f"{name}={value}" for name, value in self.compiler_options.items())
    return f"{self.dtype.name}, XLA with {options or 'its defaults'}"


def configure(backend: str | None = None, precision: str = "float32", places: int | None = None) -> Settings:
  """The settings for a backend.

  Args: backend: "cpu", "gpu" or "tpu"; None: the one in use. precision: "float32" or "bfloat16". places: None: 14 on
    a CPU, where more cost more than they save (docs/speed.md), else 56: there reading the weights should take the time.
  Raises: InputError: an unknown precision, or no place.
  """
  if precision not in ("float32", "bfloat16"):
    raise InputError(f"precision {precision!r} is unknown; choose float32 or bfloat16")
  if places is not None and places < 1:
    raise InputError(f"places {places} is less than one; 1 draws Memcodes in turn, 14 or 56 together are usual")
  backend = jax.default_backend() if backend is None else backend
  usual = 14 if backend == "cpu" else 56
  return Settings(GRAPH if backend == "gpu" else {}, jnp.dtype(precision), usual if places is None else places)
