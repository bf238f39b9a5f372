"""How every test runs: four CPU devices, no silent broadcasting, compiled quickly, programs kept between runs."""

import os
import pathlib
import subprocess
import sys

# Before anything imports jax. Programs that tests start get a newcomer's environment: see `start`.
pytest_plugins = ["tests.datasets"]  # fixtures of clips and data sets, for all folders
ROOT = pathlib.Path(__file__).resolve().parent.parent
GIVEN_FLAGS = os.environ.get("XLA_FLAGS", "")
# Tests compile far more than they run, and neither LLVM's optimisations nor XLA's newer emitters are what they test:
# without both, an update of the tiny MNIST stage takes 1.2 s of CPU to compile instead of 9.8.
QUICK_COMPILE = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
TEST_ENVIRONMENT = {
  "JAX_PLATFORMS": "cpu",
  "JAX_NUM_CPU_DEVICES": "4",
  "JAX_NUMPY_RANK_PROMOTION": "raise",
  "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "jax"),
  "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  "XLA_FLAGS": f"{GIVEN_FLAGS} {QUICK_COMPILE}".strip(),
  "XDG_CACHE_HOME": str(ROOT / ".pytest_cache" / "home"),  # where programs would keep them without these
}
IMPORTED = ("TF_CPP_MIN_LOG_LEVEL",)  # what jax sets where it is imported, and a newcomer has not
PROGRAM_ENVIRONMENT = {k: v for k, v in TEST_ENVIRONMENT.items() if "DEVICES" not in k and "RANK" not in k}
PROGRAM_ENVIRONMENT |= {"XLA_FLAGS": GIVEN_FLAGS, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2"}
os.environ.update(TEST_ENVIRONMENT)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402

flags.FLAGS.mark_as_parsed()  # grain reads absl flags, and no program parsed them here


# Files that take longest: they come first, so that two processes end at about the same time
LONG = (
  "faults/test_processes", "faults/test_ranks", "prepare/examine/test_offsets", "train/", "api/", "analysis/test_layer",
  "models/",
)  # fmt: skip


def pytest_collection_modifyitems(items):
  items.sort(key=lambda item: next((n for n, part in enumerate(LONG) if f"tests/{part}" in item.nodeid), len(LONG)))


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
  """Compiled programs pile up: they go once a process holds 2 GiB, and come back from the cache on disk."""
  yield
  numbers = pathlib.Path("/proc/self/statm")
  pages = int(numbers.read_text().split()[1]) if numbers.exists() else 0
  if "jax" in sys.modules and pages * os.sysconf("SC_PAGESIZE") > 2 << 30:
    sys.modules["jax"].clear_caches()


@pytest.fixture
def start():
  """Returns `start("sample", "--seed=1", ..., cwd=ROOT)`: runs a program of ours to its end, as a user would."""

  def run(program: str, *arguments: str, cwd=ROOT, timeout=300, **environment) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if k not in (*TEST_ENVIRONMENT, *IMPORTED)}
    env |= PROGRAM_ENVIRONMENT | {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-m", f"nwt_jax.{program}", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)

  return run


@pytest.fixture
def refused(start):
  """Returns `refused("sample", "--seed=x", ...)`: runs a program that must refuse, and returns its message."""

  def run(program: str, *arguments: str, **options) -> str:
    done = start(program, *arguments, **options)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, f"exit code {done.returncode}, wanted 2:\n{done.stderr}"
    assert 1 <= len(lines) <= 3, f"{len(lines)} lines on stderr, wanted one to three:\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stderr.strip()

  return run


@pytest.fixture(scope="session")
def without_jax(tmp_path_factory):
  """Options of `start` and `refused`: a program that imports jax all the same fails."""
  folder = tmp_path_factory.mktemp("none") / "jax"
  folder.mkdir()
  (folder / "__init__.py").write_text("raise AssertionError('jax was imported before the input was looked at')\n")
  return {"PYTHONPATH": f"{folder.parent}:{ROOT}"}


@pytest.fixture(scope="session")
def tiny_release(tmp_path_factory):
  """A folder with a dVAE, a MAR and a FAR of random weights: 32 x 24 pixels, 4 x 3 Memcodes, episodes ann, bob, cy."""
  import jax
  import jax.numpy as jnp

  from nwt_jax import build
  from nwt_jax.configs import dvae_lwt, far, mar
  from nwt_jax.io.release import load_card, save_release

  folder = tmp_path_factory.mktemp("release")
  facts = {"episodes": ["ann", "bob", "cy"], "video": {"fps": 30, "height": 32, "width": 24}}
  key, episode = jax.random.key(0), jnp.zeros((1, 2), int)
  fields = {**dvae_lwt.get_config("tiny").model.to_dict(), "num_episodes": 3}
  dvae = build.dvae(fields)
  params = _random(lambda: dvae.init(key, jnp.zeros((1, 2, 32, 24, 3)), episode, key, "gumbel"))
  save_release(folder, "dvae", params, {**facts, "model": fields})
  facts["dvae_sha256"] = load_card(folder, "dvae")["sha256"]
  for family, config in (("far", far), ("mar", mar)):
    fields = config.get_config("tiny").model.to_dict()
    prior = build.prior(family, fields)
    codes = jnp.zeros((1, 2, *prior.grid, prior.num_heads), int)
    inputs = (codes, jnp.zeros((1, 8, 80)), episode, jnp.zeros((1, prior.style_dim)))
    params = _random(lambda prior=prior, inputs=inputs: prior.init(key, *inputs, method="reconstruct"))
    save_release(folder, family, params, {**facts, "model": fields}, dvae=folder)
  return folder


def _random(init):
  """Parameters of `init`'s shapes, drawn by NumPy: a compiled initialisation costs more than the tests that use it."""
  import jax

  noise = np.random.default_rng(0)

  def draw(leaf):
    scale = 2.0 / np.sqrt(np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.1
    return (scale * noise.normal(size=leaf.shape)).astype(np.float32)

  return jax.tree.map(draw, jax.eval_shape(init))
