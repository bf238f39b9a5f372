"""What a newcomer meets: requirements that agree, a wheel that carries the models, a notebook and a script that run."""

import os
import pathlib
import shutil
import subprocess
import sys
import tomllib

import numpy as np
import pytest

from nwt_jax.io import audio, video

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "nwt_jax" / "released" / "talker"
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


@pytest.mark.slow
@needs_models
def test_wheel_carries_the_models(tmp_path):
  """Built from a copy, installed into an empty folder, loaded there without the repository in sight."""
  pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
  offline = ["--no-deps", "--no-index", "-q"]
  source = tmp_path / "source"
  source.mkdir()
  for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "LICENSE-WEIGHTS"):
    shutil.copy(ROOT / name, source)
  shutil.copytree(ROOT / "nwt_jax", source / "nwt_jax")
  subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", str(tmp_path), str(source)], check=True)
  (wheel,) = tmp_path.glob("nwt_jax-*.whl")
  subprocess.run([*pip, "install", *offline, "--target", str(tmp_path / "site"), str(wheel)], check=True)
  code = (
    "import nwt_jax, nwt_jax.api as a, numpy as np; print(nwt_jax.__file__)\n"
    "for family in ('mar', 'far'):\n"
    "  made = a.NWT.from_checkpoint(family=family).generate(np.zeros(2400, 'f'), 24000)\n"
    "  print(family, sum(len(chunk.frames) for chunk in made))"
  )
  empty = tmp_path / "empty"
  empty.mkdir()
  env = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "JAX_NUM_CPU_DEVICES": "1"}
  done = subprocess.run([sys.executable, "-c", code], cwd=empty, env=env, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  lines = done.stdout.splitlines()
  assert lines[0].startswith(str(tmp_path / "site"))
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
    "from nwt_jax.data import speech\n"
    "try: speech.speak('a', 'en-us', 150, 50)\n"
    "except Exception as error: print(type(error).__name__, error)"
  )
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
  assert "InputError" in done.stdout and "talker" in done.stdout, done.stdout + done.stderr


def test_jax_is_not_imported_by_data_code():
  code = "import sys, nwt_jax.data.clips, nwt_jax.data.batches, nwt_jax.io.video; print('jax' in sys.modules)"
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
  assert done.stdout.strip() == "False"
