"""A Slurm of one node on this machine, from Debian's slurmctld, slurmd and munge: no systemd, all in one folder."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol", "scancel", "squeue")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
# One node that is this machine; tasks are ordinary processes. Nobody waits: a requeued job is started again by
# `Slurm.requeue`, and a node that has just finished takes the next job at once.
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MinJobAge=3600
SchedulerParameters=sched_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE OverSubscribe=NO
"""


class Slurm:
  """A running Slurm. `environment` is what its commands need."""

  def __init__(self, environment: dict):
    self.environment = environment

  def run(self, *command: str, **options) -> str:
    """Runs a command of Slurm, or one that calls them. Returns: what it printed."""
    given = {"env": self.environment, "capture_output": True, "text": True, "timeout": 60} | options
    done = subprocess.run([*map(str, command)], **given)
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout

  def job(self, number: int | str) -> dict[str, str]:
    """What Slurm says of a job: JobState, Restarts, ExitCode and more."""
    text = self.run("scontrol", "-o", "show", "job", str(number))
    return dict(word.split("=", 1) for word in text.split() if "=" in word)

  def wait(self, number: int | str, what, seconds: float = 180.0, every: float = 0.5) -> dict[str, str]:
    """Waits for `what(job)`. A job in the queue again is started after three seconds: by itself it waits two minutes,
    and at once slurmd would refuse it, with the credential of the turn that it has just ended."""
    end = time.monotonic() + seconds
    while not what(job := self.job(number)):
      assert job["JobState"] not in ENDED and time.monotonic() < end, f"job {number}: {job}"
      if job["JobState"] == "PENDING" and job["Reason"] == "BeginTime":
        time.sleep(3)
        self.run("scontrol", "update", f"JobId={number}", "StartTime=now")
      time.sleep(every)
    return job


@contextlib.contextmanager
def slurm(folder: Path):
  """Yields a Slurm that lives in `folder` and ends with the block; skips where it cannot be had."""
  if missing := [name for name in PROGRAMS if not _which(name)]:
    pytest.skip(f"no {missing[0]}: apt-get install slurmctld slurmd slurm-client munge to test in a real Slurm")
  if os.geteuid() != 0:
    pytest.skip("a Slurm for a test runs as root")
  host = socket.gethostname().split(".")[0]
  with contextlib.ExitStack() as stack:
    doors = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
    ports = [door.getsockname()[1] for door in doors]
  folder.chmod(0o755)  # munged wants a path that others cannot write to
  for name in ("state", "spool"):
    (folder / name).mkdir()
  (folder / "slurm.conf").write_text(CONFIG.format(folder=folder, host=host, ports=ports))
  (folder / "munge.key").write_bytes(os.urandom(128))
  (folder / "munge.key").chmod(0o600)
  environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH", "SRUN"))}
  environment |= {"SLURM_CONF": str(folder / "slurm.conf")}
  munged = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
  daemons = (
    ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munged],
    ["slurmctld", "-D", "-c", "-i"],
    ["slurmd", "-D", "-N", host],
  )
  started = []
  try:
    for command in daemons:
      with open(folder / f"{command[0]}.out", "wb") as log:
        program = [_which(command[0]), *command[1:]]
        started.append(subprocess.Popen(program, env=environment, stdout=log, stderr=log, start_new_session=True))
      if command[0] == "munged":
        _until(lambda: (folder / "munge.socket").exists(), folder)
    cluster = Slurm(environment)
    _until(lambda: _ask(environment) == "idle", folder)
    try:
      yield cluster
    finally:
      _end_jobs(cluster)
  finally:
    for daemon in reversed(started):
      daemon.terminate()
      try:
        daemon.wait(20)
      except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _end_jobs(cluster: Slurm) -> None:
  """Cancels what a test left: its processes would outlive the daemons. They have 30 s, as by default."""
  if jobs := cluster.run("squeue", "-h", "-o", "%A").split():
    cluster.run("scancel", *jobs)
  end = time.monotonic() + 60
  while cluster.run("squeue", "-h", "-o", "%A").split() and time.monotonic() < end:
    time.sleep(0.5)


def _which(name: str) -> str | None:
  return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _ask(environment: dict) -> str:
  """The state of the node."""
  return subprocess.run(
    ["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True, timeout=30
  ).stdout.strip()


def _until(what, folder: Path, seconds: float = 40.0) -> None:
  end = time.monotonic() + seconds
  while not what():
    if time.monotonic() > end:
      logs = "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in sorted(folder.glob("*.[lo][ou][gt]")))
      raise AssertionError(f"Slurm did not start in {seconds:.0f} s\n{logs}")
    time.sleep(0.2)
