"""Where arrays live: one mesh, state on every device, batches cut along their first axis."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from nwt_jax.errors import InputError


def make_mesh() -> Mesh:
  """All devices of all processes along one axis, "data"."""
  return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
  """The same value on every device: parameters, optimiser state, metrics."""
  return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
  """The first axis cut among the devices: batches."""
  return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
  """Raises: InputError: the devices cannot share the batch equally."""
  if batch_size % mesh.size:
    raise InputError(
      f"batch size {batch_size} does not divide among {mesh.size} devices; set --config.data.batch_size to a multiple"
    )


def to_devices(batch: dict, mesh: Mesh) -> dict:
  """This process's slice of a batch as part of one global array a key."""
  return {name: jax.make_array_from_process_local_data(split(mesh), value) for name, value in batch.items()}


def jit_step(step, mesh: Mesh):
  """Compiles (state, batch) -> (state, metrics); the state's memory is reused."""
  whole = replicated(mesh)
  return jax.jit(step, donate_argnums=0, in_shardings=(whole, split(mesh)), out_shardings=(whole, whole))
