"""How every test runs: four CPU devices, no silent broadcasting, compiled programs kept between runs."""

import os
import pathlib
import subprocess
import sys

# Before anything imports jax. Programs that tests start get a newcomer's environment: see `start`.
ROOT = pathlib.Path(__file__).resolve().parent.parent
TEST_ENVIRONMENT = {
  "JAX_PLATFORMS": "cpu",
  "JAX_NUM_CPU_DEVICES": "4",
  "JAX_NUMPY_RANK_PROMOTION": "raise",
  "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "jax"),
  "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
}
PROGRAM_ENVIRONMENT = {k: v for k, v in TEST_ENVIRONMENT.items() if "DEVICES" not in k and "RANK" not in k}
os.environ.update(TEST_ENVIRONMENT)

import pytest  # noqa: E402
from absl import flags  # noqa: E402

flags.FLAGS.mark_as_parsed()  # grain reads absl flags, and no program parsed them here


@pytest.fixture
def start():
  """Returns `start("sample", "--seed=1", ..., cwd=ROOT)`: runs a program of ours to its end, as a user would."""

  def run(program: str, *arguments: str, cwd=ROOT, timeout=300, **environment) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if k not in TEST_ENVIRONMENT}
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
def tiny_release(tmp_path_factory):
  """A folder with a dVAE, a MAR and a FAR of random weights: 32 x 24 pixels, 4 x 3 Memcodes, episodes ann, bob, cy."""
  import jax
  import jax.numpy as jnp

  from configs import dvae_lwt, far, mar
  from nwt_jax import build
  from nwt_jax.io.checkpoint import load_card, save_release

  folder = tmp_path_factory.mktemp("release")
  facts = {"episodes": ["ann", "bob", "cy"], "video": {"fps": 30, "height": 32, "width": 24}}
  key = jax.random.key(0)
  fields = {**dvae_lwt.get_config("tiny").model.to_dict(), "num_episodes": 3}
  model = build.dvae(fields)
  params = jax.jit(lambda: model.init(key, jnp.zeros((1, 2, 32, 24, 3)), jnp.zeros((1, 2), int), key, "gumbel"))()
  save_release(folder, "dvae", jax.device_get(params), {**facts, "model": fields})
  dvae = load_card(folder, "dvae")["sha256"]
  for family, config in (("far", far), ("mar", mar)):
    fields = config.get_config("tiny").model.to_dict()
    prior = build.prior(family, fields)
    params = jax.device_get(jax.jit(lambda prior=prior: _init_prior(prior, key))())
    logits = params["params"]["logits"]
    logits["kernel"] = logits["kernel"] * 100  # so that codes depend on what came before, not on noise alone
    save_release(folder, family, params, {**facts, "model": fields, "dvae_sha256": dvae}, dvae=folder)
  return folder


def _init_prior(prior, key):
  import jax.numpy as jnp

  codes = jnp.zeros((1, 2, *prior.grid, prior.num_heads), int)
  mel, style = jnp.zeros((1, 8, 80)), jnp.zeros((1, prior.style_dim))
  return prior.init(key, codes, mel, jnp.zeros((1, 2), int), style, method="reconstruct")
