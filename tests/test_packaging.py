"""What a newcomer meets: requirements that agree, a wheel that carries the models, a notebook and a script that run."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile

import numpy as np
import pytest

from nwt_jax.io import audio, video

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "nwt_jax" / "released" / "talker"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
OFFLINE = ["--no-deps", "--no-index", "-q"]
needs_models = pytest.mark.skipif(not (SHIPPED / "mar.safetensors").exists(), reason="no released MAR in this tree")


def test_requirements_repeat_the_ranges_of_pyproject():
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  lines = (ROOT / "requirements.txt").read_text().splitlines()
  assert [line for line in lines if not line.startswith("#")] == project["dependencies"]


def test_lock_holds_every_requirement_with_hashes():
  from packaging.requirements import Requirement
  from packaging.utils import canonicalize_name

  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  extras = project["optional-dependencies"]
  wanted = project["dependencies"] + extras["test"] + extras["talker"] + extras["faces"]
  text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
  pins = [line for line in text.splitlines() if line and not line.startswith("#")]
  assert all("--hash=sha256:" in pin for pin in pins)
  versions = {}
  for pin in pins:
    requirement = Requirement(pin.split("--hash")[0].strip())
    versions.setdefault(canonicalize_name(requirement.name), []).append(str(requirement.specifier).removeprefix("=="))
  for requirement in map(Requirement, wanted):
    for version in versions[canonicalize_name(requirement.name)]:
      assert requirement.specifier.contains(version), f"{requirement} is locked to {version}"


def test_released_models_fit_in_10_megabytes():
  assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) <= 10e6


def test_notebook_is_its_source():
  import jupytext

  cells = [
    [(cell.cell_type, cell.source) for cell in jupytext.read(ROOT / "notebooks" / name).cells]
    for name in ("sample.py", "sample.ipynb")
  ]
  assert cells[0] == cells[1], "run: jupytext --to ipynb notebooks/sample.py"


@pytest.mark.slow
@needs_models
def test_notebook_runs(tmp_path):
  import jupytext
  from nbclient import NotebookClient

  notebook = jupytext.read(ROOT / "notebooks" / "sample.py")
  NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
  shown = [out["data"].get("text/html", "") for c in notebook.cells for out in c.get("outputs", []) if "data" in out]
  assert sum(page.count("data:video/mp4") for page in shown) == 3


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """A wheel, built from a copy of what it is made of."""
  folder = tmp_path_factory.mktemp("wheel")
  source = folder / "source"
  source.mkdir()
  for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "LICENSE-WEIGHTS"):
    shutil.copy(ROOT / name, source)
  for name in ("nwt_jax", "configs"):
    shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
  subprocess.run([*PIP, "wheel", *OFFLINE, "--no-build-isolation", "-w", str(folder), str(source)], check=True)
  (path,) = folder.glob("nwt_jax-*.whl")
  return path


@pytest.fixture(scope="module")
def installed(tmp_path_factory, wheel):
  """Returns `installed(program, *arguments, cwd=...)`, which runs a program of an environment that has the wheel.

  All else comes from the environment that these tests run in."""
  folder = tmp_path_factory.mktemp("environment")
  subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
  python = folder / "bin" / "python"
  (below,) = (folder / "lib").glob("python*/site-packages")
  (below / "below.pth").write_text(sysconfig.get_path("purelib") + "\n")
  install = [*PIP, f"--python={python}", "install", *OFFLINE, "--ignore-installed", str(wheel)]
  subprocess.run(install, check=True)

  def run(program: str, *arguments: object, cwd, timeout=300) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"JAX_NUM_CPU_DEVICES": "1"}
    command = [str(folder / "bin" / program), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)

  return run


def test_wheel_has_one_package_with_the_configs_and_the_models_in_it(wheel):
  with zipfile.ZipFile(wheel) as file:
    names = file.namelist()
    scripts = file.read(next(name for name in names if name.endswith("/entry_points.txt"))).decode()
  assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"nwt_jax"}
  assert "nwt = nwt_jax.__main__:main" in scripts
  ours = [path for path in (ROOT / "nwt_jax").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
  for path in (*ROOT.glob("configs/*.py"), *ours):
    inside = path.relative_to(ROOT).as_posix()
    assert (f"nwt_jax/{inside}" if inside.startswith("configs/") else inside) in names


def test_an_installed_package_finds_its_configs_and_programs(installed, tmp_path):
  done = installed(
    "python", "-c", "import nwt_jax.configs as c; from nwt_jax.configs import mar; print(c.__file__)", cwd=tmp_path
  )
  assert done.stdout.strip().endswith("site-packages/nwt_jax/configs/__init__.py"), done.stderr
  assert "  sample " in installed("nwt", cwd=tmp_path).stdout
  for config in ("mar.py:demo", "configs/mar.py:demo"):  # found, so it is the data that it lacks
    done = installed("nwt", "train", f"--config={config}", "--workdir=run", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("nwt_jax.main: no data: "), done.stderr
  assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_installed_package_trains(installed, tmp_path):
  """Two updates of the tiny dVAE from an empty folder, with no checkout in sight."""
  write = "import sys, pathlib; from nwt_jax.train import trial; trial.write_noise(pathlib.Path(sys.argv[1]))"
  empty = tmp_path / "empty"
  empty.mkdir()
  done = installed("python", "-c", write, tmp_path / "clips", cwd=empty)
  assert done.returncode == 0, done.stderr
  options = [f"--config.data.path={tmp_path / 'clips'}", f"--workdir={tmp_path / 'run'}"]
  done = installed("nwt", "train", "--config=dvae_lwt.py:tiny", *options, cwd=empty)
  assert done.returncode == 0, done.stdout + done.stderr
  lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
  assert {line["step"] for line in lines} >= {1, 2}
  assert (tmp_path / "run" / "export" / "dvae.safetensors").exists()
  assert not list(empty.iterdir())


@pytest.mark.slow
@needs_models
def test_an_installed_package_carries_the_models(installed, tmp_path):
  code = (
    "import nwt_jax, nwt_jax.api as a, numpy as np; print(nwt_jax.__file__)\n"
    "for family in ('mar', 'far'):\n"
    "  made = a.NWT.from_checkpoint(family=family).generate(np.zeros(2400, 'f'), 24000)\n"
    "  print(family, sum(len(chunk.frames) for chunk in made))"
  )
  done = installed("python", "-c", code, cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  lines = done.stdout.splitlines()
  assert not lines[0].startswith(str(ROOT))
  assert lines[1:] == ["mar 3", "far 3"]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_your_clips_from_folder_to_video(tmp_path):
  """scripts/your_clips.sh on four short clips, two steps a stage; then once more, which finds everything done."""
  noise = np.random.default_rng(0)
  for index in range(4):
    frames = noise.integers(0, 255, (60, 32, 24, 3), np.uint8)
    video.write_video(tmp_path / f"clip {index}.mp4", frames, audio=noise.normal(size=48_000).astype(np.float32) * 0.1)
  audio.write_wav(tmp_path / "speech.wav", noise.normal(size=24_000) * 0.1)
  env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_NUM")}
  env |= {"PYTHON": sys.executable, "VARIANT": "tiny", "STEPS": "2", "AUDIO": str(tmp_path / "speech.wav")}
  command = ["bash", "scripts/your_clips.sh", f"{tmp_path}/*.mp4", str(tmp_path / "runs")]
  for _ in range(2):
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
  assert video.read_video(tmp_path / "runs" / "sample.mp4").shape == (30, 32, 24, 3)
  os.umask(mask := os.umask(0o022))
  left = list((tmp_path / "runs").rglob("*"))  # data set, checkpoints, tokens, weights, video
  assert len(left) > 80
  for path in left:
    assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~mask, path


def test_extras_are_named_where_they_are_missing():
  """The package imports without espeak-ng; who needs it is told which extra has it."""
  code = (
    "import sys; sys.modules['espeakng_loader'] = None\n"
    "from nwt_jax.talker import speech\n"
    "try: speech.speak('a', 'en-us', 150, 50)\n"
    "except Exception as error: print(type(error).__name__, error)"
  )
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
  assert "InputError" in done.stdout and "talker" in done.stdout, done.stdout + done.stderr


def test_jax_is_not_imported_by_data_code():
  code = "import sys, nwt_jax.data.clips, nwt_jax.data.batches, nwt_jax.io.video; print('jax' in sys.modules)"
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
  assert done.stdout.strip() == "False"
