"""The launchers: what they would submit is what they submit, with arguments whole; bad input; manifests and image."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unicodedata

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAUNCH = ROOT / "launch"
SCRIPTS = sorted(path.name for path in LAUNCH.glob("*.sh") if path.name != "common.sh")
WORKDIR = "--workdir=/runs/Größe 'a' \"b\" $HOME `id` \\n 話"
ARGUMENTS = ["--config=configs/dvae_lwt.py:tiny", WORKDIR, "--config.data.path=/d/*", "--config.x=", "-v", "@ME@"]
TPU_VM = ["--name=mine", "--zone=z"]
GKE = ["--name=mine", "--image=r/p/i:1", "--nodes=2", "--chips=4"]
PVC, BUCKET = "--volume=pvc:claim", "--volume=bucket:my-bucket"
TPU_SLICES = ["--tpu=tpu-v6e-slice", "--topology=4x4", "--slices=3", "--spot", BUCKET]
GOOD = {
  "slurm_train.sh": ["--nodes=2", "--tasks-per-node=4", "--time=1-00:00:00", "--sbatch=--mem=a b", "--", *ARGUMENTS],
  "slurm_prepare.sh": ["--list=LIST.txt", "--output=OUT put", "--parts=3", "--", "--episodes=ä b.csv", "--height=64"],
  "gke.sh": [*GKE, "--gpu=nvidia-h100-80gb", PVC, "--", *ARGUMENTS],
  "tpu_vm.sh": ["run", *TPU_VM, "--image=i", "--nfs=h:/s", "--", *ARGUMENTS],
}
# Notes its name, arguments and input; srun, sudo and exec run what they are given, in the place of a cluster.
FAKE = """#!{python}
import json, os, subprocess, sys
name = os.path.basename(sys.argv[0])
words = sys.argv[1:]
wants = name in ("sbatch", "kubectl")
note = [name, words, sys.stdin.read() if wants else ""]
with open({log!r}, "a") as log:
  log.write(json.dumps(note) + "\\n")
if name in ("srun", "sudo"):
  while words and words[0].startswith("--"):
    words = words[1:]
  sys.exit(subprocess.run(words).returncode)
sys.exit(int(os.environ.get("FAKE_CODE", 0)) if name == "python" else 0)
"""
ENGINES = ("sbatch", "srun", "scontrol", "kubectl", "xpk", "gcloud", "sudo", "docker", "mountpoint", "python")


@pytest.fixture
def engines(tmp_path):
  """A folder of stand-ins. Returns: run(*command, **environment) -> CompletedProcess; notes() -> what was called."""
  (tmp_path / "bin").mkdir()
  log = tmp_path / "log"
  (tmp_path / "bin" / "fake").write_text(FAKE.format(python=sys.executable, log=str(log)))
  (tmp_path / "bin" / "fake").chmod(0o755)
  for name in ENGINES:
    (tmp_path / "bin" / name).symlink_to("fake")

  def run(*command, given=None, **environment):
    env = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"} | environment
    return subprocess.run(
      command, cwd=tmp_path, env=env, input=given, stdin=None if given else subprocess.DEVNULL, capture_output=True,
      text=True, timeout=60,
    )  # fmt: skip

  def notes():
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]

  (tmp_path / "LIST.txt").write_text("a.mp4\nb.mp4\nc.mp4\n")
  run.notes = notes
  return run


def launch(run, script, *arguments, code=0, **environment):
  """Runs a launcher. Returns: what it printed."""
  done = run("bash", str(LAUNCH / script), *arguments, **environment)
  assert done.returncode == code, done.stdout + done.stderr
  return done.stdout if code == 0 else done.stderr


def dry(run, script, *arguments):
  text = launch(run, script, "--dry-run", *arguments) if arguments[0].startswith("-") else launch(
    run, script, arguments[0], "--dry-run", *arguments[1:]
  )  # fmt: skip
  assert run.notes() == [], "a dry run ran something"
  return text


def test_fault_71_scripts_pass_shellcheck():
  command = [pathlib.Path(sys.executable).parent / "shellcheck", "-x", "-P", "SCRIPTDIR", *LAUNCH.glob("*.sh")]
  done = subprocess.run(command, capture_output=True, text=True, timeout=120)
  assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_fault_71_a_dry_run_prints_what_is_submitted(script, engines, tmp_path):
  python = [] if script in ("gke.sh", "tpu_vm.sh") else [f"--python={tmp_path / 'bin' / 'python'}"]
  verb = [word for word in GOOD[script][:1] if not word.startswith("-")]
  given = [*verb, *python, *GOOD[script][len(verb) :]]
  text = dry(engines, script, *given)
  launch(engines, script, *given)
  submitted = engines.notes()
  assert len(submitted) == 1
  if script == "gke.sh":
    assert submitted[0][:2] == ["kubectl", ["apply", "-f", "-"]] and submitted[0][2] == text
  else:  # what is printed is itself a command
    assert engines("bash", "-c", text).returncode == 0
    assert engines.notes() == submitted


def job_of(run, *options):
  """The job script that slurm_train.sh submits."""
  launch(run, "slurm_train.sh", *options, "--", *ARGUMENTS)
  ((_, words, job),) = run.notes()
  return words, job


def test_slurm_training_gets_its_arguments_whole(engines, tmp_path):
  python = f"--python={tmp_path / 'bin' / 'python'}"
  words, job = job_of(engines, python, "--nodes=2", "--tasks-per-node=4", "--partition=p", "--sbatch=--mem=a b")
  assert {"--nodes=2", "--ntasks-per-node=4", "--gres=gpu:4", "--mem=a b", "--requeue", "--partition=p"} <= set(words)
  assert {"--signal=TERM@120", "--open-mode=append"} <= set(words)
  assert engines("bash", given=job, SLURM_JOB_ID="7").returncode == 0
  (step, program) = engines.notes()
  assert step[0] == "srun" and program[1] == ["-m", "nwt_jax.main", *ARGUMENTS]
  words, job = job_of(engines, python, "--gpus-per-task=0", "--cpus-per-task=3")
  assert not [word for word in words if "gpu" in word] and "--cpus-per-task=3" in words


def test_several_gpus_of_a_process_are_named(engines, tmp_path):
  show = tmp_path / "bin" / "show"
  show.write_text('#!/bin/sh\nprintf "%s\\n" "$JAX_LOCAL_DEVICE_IDS" "$4"\n')
  show.chmod(0o755)
  words, job = job_of(engines, f"--python={show}", "--tasks-per-node=2", "--gpus-per-task=4")
  assert "--gres=gpu:8" in words
  done = engines("bash", given=job, SLURM_LOCALID="1")
  assert done.stdout == f"4,5,6,7\n{WORKDIR}\n", done.stderr


@pytest.mark.parametrize(
  "code,restarts,ends,requeued", [(0, 0, 0, False), (2, 0, 2, False), (143, 0, 0, True), (143, 5, 143, False)]
)
def test_slurm_queues_again_after_143_alone(code, restarts, ends, requeued, engines, tmp_path):
  _, job = job_of(engines, f"--python={tmp_path / 'bin' / 'python'}", "--max-restarts=5")
  done = engines("bash", given=job, SLURM_JOB_ID="7", SLURM_RESTART_COUNT=str(restarts), FAKE_CODE=str(code))
  assert done.returncode == ends, done.stderr
  assert (["scontrol", ["requeue", "7"], ""] in engines.notes()) == requeued


def test_slurm_prepares_one_data_set_a_part(engines, tmp_path):
  python = f"--python={tmp_path / 'bin' / 'python'}"
  launch(engines, "slurm_prepare.sh", python, *GOOD["slurm_prepare.sh"])
  ((_, words, job),) = engines.notes()
  assert "--array=0-2" in words
  assert (tmp_path / "OUT put" / "lists" / "part-0001.txt").read_text() == "b.mp4\n"
  assert engines("bash", given=job, SLURM_ARRAY_TASK_ID="1").returncode == 0
  ((_, program, _),) = engines.notes()
  part = ["--input=OUT put/lists/part-0001.txt", "--output=OUT put/part-0001", "--workers=4", f"--root={tmp_path}"]
  assert program == ["-m", "nwt_jax.prepare", *part, "--episodes=ä b.csv", "--height=64"]
  (tmp_path / "OUT put" / "lists" / "part-0002.txt").write_text("")
  assert engines("bash", given=job, SLURM_ARRAY_TASK_ID="2").stdout == "part-0002 is empty\n"


def test_lines_of_one_recording_stay_together(tmp_path):
  rows = [{"path": f"r{n % 5}.mp4", "start": n} for n in range(20)] + [{"url": "http://x/é", "source": "r0.mp4"}]
  (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n")
  command = [sys.executable, str(LAUNCH / "split_list.py"), str(tmp_path / "all.jsonl")]
  assert subprocess.run([*command, "3", str(tmp_path / "parts")], timeout=60).returncode == 0
  parts = [
    [json.loads(line) for line in path.read_text().splitlines()] for path in sorted((tmp_path / "parts").iterdir())
  ]
  assert sorted(map(str, sum(parts, []))) == sorted(map(str, rows))
  homes = [{row.get("source", row.get("path")) for row in part} for part in parts]
  assert len(homes) == 3 and sum(map(len, homes)) == 5
  (tmp_path / "all.jsonl").write_text('{"name": "x"}\n')
  done = subprocess.run([*command, "3", str(tmp_path / "no")], capture_output=True, text=True, timeout=60)
  assert done.returncode == 2 and "line 1: wanted an object with `path` or `url`" in done.stderr


def test_parts_of_one_source_stay_together_however_it_is_spelled(tmp_path):
  forms = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]
  rows = [f'{{"path": "{number}.mp4", "source": "{form}"}}\n' for number, form in enumerate(forms)]
  (tmp_path / "l.jsonl").write_text("".join(rows))
  command = [sys.executable, str(LAUNCH / "split_list.py"), str(tmp_path / "l.jsonl"), "2", str(tmp_path / "parts")]
  subprocess.run(command, check=True, capture_output=True)
  assert len((tmp_path / "parts" / "part-0000.jsonl").read_text().splitlines()) == 2


def test_tpu_workers_get_their_arguments_whole(engines):
  launch(engines, "tpu_vm.sh", *GOOD["tpu_vm.sh"])
  ((_, words, _),) = engines.notes()
  assert words[:6] == ["compute", "tpus", "tpu-vm", "ssh", "mine", "--zone=z"] and "--worker=all" in words
  assert engines("sh", "-c", words[-1].removeprefix("--command=")).returncode == 0
  docker = [words for name, words, _ in engines.notes() if name == "docker"]
  assert docker[0][-len(ARGUMENTS) :] == ARGUMENTS and docker[1][0] == "logs"
  text = dry(engines, "tpu_vm.sh", "create", *TPU_VM, "--type=v6e-16", "--version=v", "--spot")
  assert text == "gcloud compute tpus tpu-vm create mine --zone=z --accelerator-type=v6e-16 --version=v --spot\n"


def test_xpk_gets_its_arguments_whole(engines):
  storage = "--volume=storage:runs"
  launch(engines, "gke.sh", "--xpk=cluster", *GKE[:2], "--tpu=v6e-16", "--slices=2", storage, "--", *ARGUMENTS)
  ((name, words, _),) = engines.notes()
  assert name == "xpk" and {"--tpu-type=v6e-16", "--num-slices=2", "--storage=runs"} <= set(words)
  assert engines("bash", "-c", words[-1].removeprefix("--command=")).returncode == 0
  assert engines.notes() == [["python", ["-m", "nwt_jax.main", *ARGUMENTS], ""]]


@pytest.mark.parametrize("options", [["--gpu=nvidia-h100-80gb", PVC], TPU_SLICES])
def test_fault_71_the_jobset_is_one(options, engines):
  """What is not looked at here is looked at by `make test-system`, with the schemas of Kubernetes and JobSet."""
  text = dry(engines, "gke.sh", *GKE, "--grace=90", "--max-restarts=9", *options, "--", *ARGUMENTS)
  assert set(re.findall(r"@[A-Z]+@", text)) == {"@ME@"} and not re.search(r" #(gpu|tpu|pvc|bucket|spot)$", text, re.M)
  documents = {document["kind"]: document for document in yaml.safe_load_all(text)}
  tpu = options is TPU_SLICES
  assert documents.keys() == {"ServiceAccount", "JobSet"} | (set() if tpu else {"Role", "RoleBinding"})
  jobset = documents["JobSet"]
  assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2" and jobset["spec"].keys() == {
    "failurePolicy", "replicatedJobs"
  }  # fmt: skip
  assert jobset["spec"]["failurePolicy"]["maxRestarts"] == 9
  (replicated,) = jobset["spec"]["replicatedJobs"]
  assert replicated["replicas"] == (3 if tpu else 1)  # JAX takes the processes of one job together on GPUs
  job = replicated["template"]["spec"]
  assert (job["completionMode"], job["parallelism"], job["completions"], job["backoffLimit"]) == ("Indexed", 2, 2, 0)
  pod = job["template"]["spec"]
  assert pod["restartPolicy"] == "Never" and pod["terminationGracePeriodSeconds"] == 90
  (container,) = pod["containers"]
  assert container["args"] == [word.replace("$(", "$$(") for word in ARGUMENTS]
  assert container["resources"]["limits"] == {("google.com/tpu" if tpu else "nvidia.com/gpu"): 4}
  assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
  selector = {"cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice", "cloud.google.com/gke-tpu-topology": "4x4"}
  spot = {"cloud.google.com/gke-spot": "true"}
  assert pod["nodeSelector"] == (selector | spot if tpu else {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"})


def test_kubernetes_expands_nothing_in_arguments(engines):
  text = dry(engines, "gke.sh", *GKE, "--gpu=g", PVC, "--", "--config=$(HOME) it's", "--workdir=/runs/a")
  (jobset,) = [document for document in yaml.safe_load_all(text) if document["kind"] == "JobSet"]
  pod = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
  assert pod["containers"][0]["args"][0] == "--config=$$(HOME) it's"


def test_fault_71_the_skypilot_task_is_one():
  """Keys of SkyPilot's task; SkyPilot 0.14 itself read the file when it was written."""
  task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
  assert task.keys() == {"name", "workdir", "num_nodes", "resources", "envs", "file_mounts", "setup", "run"}
  assert task["resources"].keys() == {"accelerators", "use_spot", "disk_size", "job_recovery"}
  recovery = task["resources"]["job_recovery"]
  assert recovery.keys() == {"strategy", "max_restarts_on_errors", "recover_on_exit_codes"}
  assert recovery["recover_on_exit_codes"] == [143] and task["resources"]["use_spot"] is True
  assert task["file_mounts"]["/runs"] == {"name": "${RUNS}", "mode": "MOUNT_CACHED"}


def test_the_skypilot_task_passes_arguments_whole(engines, tmp_path):
  task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
  run = task["run"].replace(".venv/bin/python", str(tmp_path / "bin" / "show"))
  show = tmp_path / "bin" / "show"
  show.write_text('#!/bin/sh\nprintf "%s\\n" "$JAX_COORDINATOR_ADDRESS $JAX_NUM_PROCESSES $JAX_PROCESS_ID" "$@"\n')
  show.chmod(0o755)
  nodes = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1"}
  done = engines("bash", "-c", run, NWT_ARGS="--config=c '--workdir=/runs/ä b'", **nodes)
  assert done.stdout.splitlines() == ["10.0.0.1:8476 2 1", "-m", "nwt_jax.main", "--config=c", "--workdir=/runs/ä b"]


def test_fault_71_the_image_is_built_from_what_is_here():
  lines = re.sub(r"\\\n", " ", (LAUNCH / "Dockerfile").read_text()).splitlines()
  steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
  of = lambda name: [rest for step, rest in steps if step == name]
  assert of("FROM") == ["python:3.12-slim"] and of("USER") == ["1000"]
  assert json.loads(of("ENTRYPOINT")[0]) == ["python", "-m", "nwt_jax.main"]  # a list: no shell keeps SIGTERM
  copied = {name for rest in of("COPY") for name in rest.split()[:-1]}
  assert all((ROOT / name).exists() for name in copied)
  kept = (LAUNCH / "Dockerfile.dockerignore").read_text().splitlines()
  assert {line[1:] for line in kept if line.startswith("!")} == copied
  assert [step for step, _ in steps].index("USER") > max(n for n, (step, _) in enumerate(steps) if step == "RUN")
  extras = (ROOT / "pyproject.toml").read_text()
  assert "cuda13 = " in extras and "tpu = " in extras


def test_the_image_installs_the_versions_of_the_lock(tmp_path):
  (script,) = re.findall(r"sed -n '.*?' requirements.lock", (LAUNCH / "Dockerfile").read_text())
  text = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
  names = {line.split("==")[0] for line in text.splitlines()}
  assert all(re.fullmatch(r"[\w.-]+==\S+( ; .*)?", line) for line in text.splitlines())
  assert {"jax", "jaxlib", "flax", "orbax-checkpoint"} <= names


LONG = "n" * 60
BAD = [
  ("slurm_train.sh", ["--nodes=0", "--", *ARGUMENTS], "--nodes=0: wanted a whole number from 1 on"),
  ("slurm_train.sh", ["--nodes=two", "--", *ARGUMENTS], "--nodes=two: wanted"),
  ("slurm_train.sh", ["--time=soon", "--", *ARGUMENTS], "--time=soon: wanted minutes"),
  ("slurm_train.sh", ["--node=2", "--", *ARGUMENTS], "unknown option '--node=2'"),
  ("slurm_train.sh", ARGUMENTS, "write it after --"),
  ("slurm_train.sh", [], "--config is missing"),
  ("slurm_train.sh", ["--", "--config=c"], "--workdir is missing"),
  ("slurm_train.sh", ["--sbatch=account", "--", *ARGUMENTS], "unknown option '--sbatch=account'"),
  ("slurm_prepare.sh", ["--output=o", "--parts=2"], "--list is missing"),
  ("slurm_prepare.sh", ["--list=no.txt", "--output=o", "--parts=2"], "--list=no.txt is no file"),
  ("slurm_prepare.sh", ["--list=LIST.txt", "--output=o"], "--parts is missing"),
  ("slurm_prepare.sh", ["--list=LIST.txt", "--output=o", "--parts=2", "--", "--input=x"], "'--input=x' is set here"),
  ("gke.sh", ["--image=i"], "--name is missing"),
  ("gke.sh", [f"--name={LONG}", "--image=i"], "at most 40 lower case letters"),
  ("gke.sh", ["--name=a", "--image=i: }"], "of letters, digits"),
  ("gke.sh", [*GKE, PVC, "--", *ARGUMENTS], "give either --gpu=TYPE or --tpu=TYPE"),
  ("gke.sh", [*GKE, "--gpu=g", "--slices=2", PVC, "--", *ARGUMENTS], "--slices=2 belongs to --tpu"),
  ("gke.sh", [*GKE, "--tpu=t", PVC, "--", *ARGUMENTS], "--topology is missing"),
  ("gke.sh", [*GKE, "--gpu=g", "--volume=disk", "--", *ARGUMENTS], "wanted pvc:NAME or bucket:NAME"),
  ("gke.sh", [*GKE, "--gpu=g", PVC, "--", "--config=c", "--workdir=/tmp/x"], "--workdir must lie in the volume"),
  ("gke.sh", [*GKE, "--gpu=g", PVC, "--", *ARGUMENTS, "a\nb"], "holds a control character"),
  ("gke.sh", [*GKE, "--gpu=g", "--xpk=c", PVC, "--", *ARGUMENTS], "with --xpk wanted storage:NAME"),
  ("tpu_vm.sh", [], "'': wanted create, run, logs, stop or delete"),
  ("tpu_vm.sh", ["start", *TPU_VM], "'start': wanted create"),
  ("tpu_vm.sh", ["run", *TPU_VM, "--", *ARGUMENTS], "--image is missing"),
  ("tpu_vm.sh", ["run", *TPU_VM, "--image=i", "--", "--config=c", "--workdir=w"], "outside of /runs"),
  ("tpu_vm.sh", ["create", *TPU_VM], "--type is missing"),
  ("tpu_vm.sh", ["stop", *TPU_VM, "--", "x"], "stop takes nothing after --"),
]


@pytest.mark.parametrize("script,arguments,message", BAD)
def test_bad_arguments_are_one_line_and_2(script, arguments, message, engines):
  text = launch(engines, script, *arguments, code=2)
  assert message in text and text.startswith(script)
  assert len(text.splitlines()) == (2 if "a\nb" in arguments else 1)
  assert engines.notes() == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_engine_that_is_not_here_is_named(script, engines, tmp_path):
  for name in ENGINES:
    (tmp_path / "bin" / name).unlink()
  for name in ("bash", "dirname", "grep", "sed"):
    (tmp_path / "bin" / name).symlink_to(shutil.which(name))
  text = launch(engines, script, *GOOD[script], code=2, PATH=str(tmp_path / "bin"))
  assert re.search(r": no (sbatch|kubectl|gcloud) on this machine: .*; --dry-run shows", text)
  assert len(text.splitlines()) == 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_every_option(script, engines):
  text = launch(engines, script, "--help")
  loop = (LAUNCH / script).read_text().partition("\ndone\n")[0]
  cases = re.findall(r"^    (--[a-z-]+)[=*-]*\)", loop, re.MULTILINE)
  options = {case.rstrip("-") for case in cases} - {"", "--help"}
  assert len(options) > 5 and all(re.search(rf"^  {option}\b", text, re.MULTILINE) for option in options)
