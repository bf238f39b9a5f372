"""Several processes as one run (jax.distributed): they find each other and agree on the step to stop at."""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

from nwt_jax import cli
from nwt_jax.errors import InputError, Stopped

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
WAIT = int(os.environ.get("NWT_CONNECT_SECONDS", 300))  # seconds to wait for the other processes


def connect(heartbeat: int) -> None:
  """Joins the other processes of a Slurm step, a JobSet, a TPU slice, an MPI run, or those that three variables name.

  A process that is alone starts the same service for itself. From here on SIGTERM, and the first Ctrl-C, end training
  at a step that all processes agree on (`should_stop`). A second Ctrl-C ends the process at once.

  Args: heartbeat: seconds after which a silent process counts as dead, and the others end.
  Raises: InputError: the coordinator does not answer, or its port is taken. (Where other processes do not appear,
    jaxlib ends this process itself.)
  """
  if jax.distributed.is_initialized():
    return
  # At the end all wait for the first process, which evaluates
  options = {"heartbeat_timeout_seconds": heartbeat, "initialization_timeout": WAIT, "shutdown_timeout_seconds": 7_200}
  count = os.environ.get(COUNT)
  try:
    if count is not None and count != "1":
      address, index = os.environ[ADDRESS], int(os.environ[INDEX])
      _wait_for_coordinator(address, index)
      jax.distributed.initialize(address, int(count), index, **options)  # ty: ignore[invalid-argument-type]
    elif count == "1" or not _connect_detected(options):
      _connect_alone(options)
  except KeyError as error:
    raise InputError(
      f"{COUNT} is {count}, but {error.args[0]} is not set; set {ADDRESS}, {COUNT} and {INDEX}"
    ) from error
  except (RuntimeError, ValueError, OSError) as error:
    reason = str(error).strip().splitlines()[0][:200]
    raise InputError(
      f"cannot join the other processes ({reason}); start all of them, with a free port, or set {COUNT}=1 for one alone"
    ) from error
  if not jax.config.jax_enable_preemption_service:  # ty: ignore[missing-attribute]
    logging.warning("the preemption service is off: SIGTERM and Ctrl-C end training with no state saved")
    return
  # Orbax logs a warning that it saves, which the program reports in its own last line.
  logging.getLogger("absl").addFilter(lambda record: not record.funcName.endswith("reached_preemption"))
  _forward_interrupts()


@contextlib.contextmanager
def exit_together() -> Iterator[None]:
  """Ends this process at once after an error where there are several, so that the others notice and end too.

  Otherwise jax waits at its exit for the others, which wait for it in the middle of an update."""
  try:
    yield
  except Stopped:
    raise
  except BaseException as error:
    if jax.process_count() == 1:
      raise
    line = cli.fault(error)
    print(traceback.format_exc() if line is None else f"{cli.name()}: {line}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(1 if line is None else cli.code_of(error))


def _wait_for_coordinator(address: str, index: int) -> None:
  """Waits for the coordinator, or checks on the coordinator itself that the port is free: jaxlib would end the process
  with a stack trace.

  Raises: OSError: nothing answers, or the port is taken."""
  host, _, port = address.rpartition(":")
  if index == 0:
    with socket.socket() as here:
      here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      here.bind(("", int(port)))
    return
  deadline = time.monotonic() + WAIT
  while True:
    try:
      socket.create_connection((host, int(port)), timeout=WAIT).close()
      return
    except OSError as error:
      if time.monotonic() > deadline:
        raise OSError(f"nothing answers at {address} for {WAIT} s: {error}") from error
    time.sleep(0.5)


def _connect_detected(options: dict) -> bool:
  """Joins the cluster that jax.distributed recognises; False where it recognises none."""
  try:
    jax.distributed.initialize(**options)
  except ValueError as error:
    if "should be defined" in str(error):
      return False
    raise
  return True


def _connect_alone(options: dict) -> None:
  jax.config.update("jax_check_proxy_envs", False)
  os.environ["no_grpc_proxy"] = ",".join(filter(None, (os.environ.get("no_grpc_proxy"), "127.0.0.1")))
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  jax.distributed.initialize(address, 1, 0, coordinator_bind_address=address, **options)


def should_stop(step: int) -> bool:
  """Returns whether to save and stop after this step. All processes must call it after every step.

  It is False where `connect` was not called, as in notebooks, or the preemption service is off."""
  if not (jax.distributed.is_initialized() and jax.config.jax_enable_preemption_service):  # ty: ignore[missing-attribute]
    return False
  return multihost_utils.reached_preemption_sync_point(step)


def _forward_interrupts() -> None:
  """Turns the first Ctrl-C into a SIGTERM to this process and ends it at the second. A thread reads them, so that
  neither waits for a compilation to return."""
  if threading.current_thread() is not threading.main_thread():
    return
  read, write = os.pipe()
  os.set_blocking(write, False)
  signal.set_wakeup_fd(write, warn_on_full_buffer=False)
  signal.signal(signal.SIGINT, lambda *_: None)

  def listen():
    count = 0
    while True:
      count += os.read(read, 64).count(signal.SIGINT)
      if count >= 2:
        os._exit(130)
      if count:
        print("\nCtrl-C: saving after this step; a second one ends at once", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)

  threading.Thread(target=listen, daemon=True).start()
