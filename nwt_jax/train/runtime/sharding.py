"""Sharding: a mesh of two axes, batches cut over both, the state whole on every device or cut over one axis (FSDP)."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from nwt_jax.errors import ConfigError, InputError

DATA, FSDP = "data", "fsdp"
SMALLEST = 4096  # numbers; smaller arrays are whole everywhere: fetching their parts costs more than they take


def make_mesh(fsdp: int = 1) -> Mesh:
  """Makes a mesh of all devices of all processes; `fsdp` neighbours share one copy of the state.

  Raises: InputError: `fsdp` does not divide the devices.
  """
  devices = jax.device_count()
  if fsdp < 1 or devices % fsdp:
    raise ConfigError(f"--config.train.fsdp is {fsdp}, which does not divide {devices} devices; choose a divisor")
  return jax.make_mesh((devices // fsdp, fsdp), (DATA, FSDP), axis_types=(AxisType.Auto, AxisType.Auto))


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
  """Returns the sharding of metrics: the same value on every device."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of batches: the first axis is cut among all devices."""
  return NamedSharding(mesh, PartitionSpec((DATA, FSDP)))


def state_sharding(state: Any, mesh: Mesh | AbstractMesh) -> Any:
  """Returns the sharding of parameters and optimisers: a large array is cut along its longest axis that divides.

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
  """Returns the memory that one device needs for a state under `state_sharding`."""
  size = lambda x, sharding: np.prod(sharding.shard_shape(x.shape)) * x.dtype.itemsize
  return int(sum(jax.tree.leaves(jax.tree.map(size, state, state_sharding(state, mesh)))))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
  """Raises: InputError: the devices cannot share the batch equally."""
  if batch_size % mesh.size:
    raise InputError(
      f"batch size {batch_size} does not divide among {mesh.size} devices; set --config.data.batch_size to a multiple"
    )


def shard_state(state: Any, mesh: Mesh) -> Any:
  """Lays out a state, which every process has whole, by `state_sharding`."""

  def lay(x, sharding):
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

  return jax.tree.map(lay, state, state_sharding(state, mesh))


def gather(state: Any, mesh: Mesh) -> Any:
  """Returns a sharded state whole on this process's first device. All processes must call this together."""
  return jax.tree.map(lambda x: x.addressable_data(0), _gathering(mesh)(state))


@functools.cache
def _gathering(mesh: Mesh) -> Callable:
  return jax.jit(lambda state: state, out_shardings=replicated(mesh))


def to_devices(batch: dict, mesh: Mesh) -> dict:
  """Returns a batch of global arrays, of which this process has the rows in `batch`."""
  return {name: jax.make_array_from_process_local_data(batch_sharding(mesh), value) for name, value in batch.items()}


def jit_step(step: Callable, mesh: Mesh, state: Any) -> Callable:
  """Compiles (state, batch) -> (state, metrics) for states sharded like `state`, whose memory is reused."""
  of_state, of_batch = state_sharding(state, mesh), batch_sharding(mesh)
  return jax.jit(step, donate_argnums=0, in_shardings=(of_state, of_batch), out_shardings=(of_state, replicated(mesh)))
