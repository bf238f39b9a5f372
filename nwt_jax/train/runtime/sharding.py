"""Where arrays live: a mesh of two axes, batches cut over both, the state whole everywhere or cut over one (FSDP)."""

import functools
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from nwt_jax.errors import InputError

DATA, FSDP = "data", "fsdp"
SMALLEST = 4096  # numbers; smaller arrays are whole everywhere: fetching their parts costs more than they take


def make_mesh(fsdp: int = 1) -> Mesh:
  """All devices of all processes; `fsdp` neighbours share one copy of the state.

  Raises: InputError: `fsdp` does not divide the devices.
  """
  devices = jax.device_count()
  if fsdp < 1 or devices % fsdp:
    raise InputError(f"--config.train.fsdp is {fsdp}, which does not divide {devices} devices; choose a divisor")
  return jax.make_mesh((devices // fsdp, fsdp), (DATA, FSDP), axis_types=(AxisType.Auto, AxisType.Auto))


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
  """The same value on every device: metrics."""
  return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
  """The first axis cut among all devices: batches."""
  return NamedSharding(mesh, PartitionSpec((DATA, FSDP)))


def of_state(state: Any, mesh: Mesh | AbstractMesh) -> Any:
  """The rule for parameters and optimisers: an array is cut along its longest axis that divides, if it is large.

  Args: state: arrays, or their shapes. Returns: a sharding for each.
  """
  parts = mesh.shape[FSDP]

  def rule(x) -> NamedSharding:
    fit = [axis for axis, size in enumerate(x.shape) if size % parts == 0]
    if parts == 1 or np.prod(x.shape) < SMALLEST or not fit:
      return replicated(mesh)
    longest = max(fit, key=lambda axis: x.shape[axis])
    return NamedSharding(mesh, PartitionSpec(*(FSDP if axis == longest else None for axis in range(len(x.shape)))))

  return jax.tree.map(rule, state)


def bytes_per_device(state: Any, mesh: Mesh | AbstractMesh) -> int:
  """Memory that one device needs for a state under the rule."""
  shards = jax.tree.map(lambda x, s: np.prod(s.shard_shape(x.shape)) * x.dtype.itemsize, state, of_state(state, mesh))
  return int(sum(jax.tree.leaves(shards)))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
  """Raises: InputError: the devices cannot share the batch equally."""
  if batch_size % mesh.size:
    raise InputError(
      f"batch size {batch_size} does not divide among {mesh.size} devices; set --config.data.batch_size to a multiple"
    )


def place(state: Any, mesh: Mesh) -> Any:
  """A state that every process has whole, laid out by the rule."""

  def lay(x, sharding):
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

  return jax.tree.map(lay, state, of_state(state, mesh))


def gather(state: Any, mesh: Mesh) -> Any:
  """A laid-out state whole on this process's first device. All processes must ask for it together."""
  return jax.tree.map(lambda x: x.addressable_data(0), _gathering(mesh)(state))


@functools.cache
def _gathering(mesh: Mesh):
  return jax.jit(lambda state: state, out_shardings=replicated(mesh))


def to_devices(batch: dict, mesh: Mesh) -> dict:
  """This process's slice of a batch as part of one global array a key."""
  return {name: jax.make_array_from_process_local_data(split(mesh), value) for name, value in batch.items()}


def jit_step(step, mesh: Mesh, state: Any):
  """Compiles (state, batch) -> (state, metrics) for states laid out like `state`, whose memory is reused."""
  laid = of_state(state, mesh)
  return jax.jit(step, donate_argnums=0, in_shardings=(laid, split(mesh)), out_shardings=(laid, replicated(mesh)))
