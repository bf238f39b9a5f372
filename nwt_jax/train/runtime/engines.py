"""Detects the cluster engine that started this process as one of several, as `cluster.connect` will, without jax."""

import importlib.util
from collections.abc import Mapping

COUNT, OTHERS = "JAX_NUM_PROCESSES", ("JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_ID")
ENGINES = {  # in jax's order: which process this is, of how many (or their hosts), what else jax wants to see
  "Open MPI": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_MCA_orte_hnp_uri"),
  "Slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_LOCALID"),
  "TPU VM": ("TPU_WORKER_ID", "TPU_WORKER_HOSTNAMES"),
}


def detected(environment: Mapping[str, str]) -> tuple[str, str]:
  """Reads from environment variables which engine started this process, and which of how many processes it is.

  Returns: "ok", "warn" or "FAIL", and a line for the doctor.
  """
  count = environment.get(COUNT)
  if count == "1":
    return "ok", f"one process, as {COUNT}=1 asks"
  lost, index = [name for name in OTHERS if name not in environment], environment.get("JAX_PROCESS_ID")
  if count is not None:
    return ("FAIL", f"{COUNT}={count}; set {lost[0]} too") if lost else ("ok", f"variables: process {index} of {count}")
  for name, (index, count, *more) in ENGINES.items():
    if all(variable in environment for variable in (index, count, *more)):
      size = len(environment[count].split(",")) if name == "TPU VM" else environment[count]
      return "ok", f"{name}: process {environment[index]} of {size}"
  if "OMPI_COMM_WORLD_SIZE" in environment:
    return "warn", f"Open MPI 5, which jax does not detect; set {COUNT}, {', '.join(OTHERS)}"
  if "SLURM_JOB_ID" in environment:
    return "warn", "Slurm, but srun did not start this process, so it is alone; start programs with srun"
  if "KUBERNETES_SERVICE_HOST" in environment:
    index, client = environment.get("JOB_COMPLETION_INDEX"), importlib.util.find_spec("kubernetes")
    if index is None:
      return ("warn", f"Kubernetes, but no JobSet; set {COUNT}=1") if client else ("ok", "Kubernetes: one process")
    text = f"Kubernetes, an indexed job or JobSet: process {index}"
    return ("ok", text) if client else ("warn", f"{text}, but jax lacks its client; pip install 'jax[k8s]'")
  if len(lost) < len(OTHERS):
    return "warn", f"{COUNT} is not set, but {' or '.join(OTHERS)} is; set all three or none"
  return "ok", "none: one process"
