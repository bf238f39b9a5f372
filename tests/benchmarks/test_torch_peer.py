"""The decoders in PyTorch draw our samples code for code, and learn as ours do. Needs `make venv-peer`."""

import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import models
from nwt_jax.generate import sampler
from tests import priors
from tests.conftest import ROOT

torch = pytest.importorskip("torch", reason="torch is not here: make venv-peer, then .venv-peer/bin/python -m pytest")
from benchmarks.torch_peer import far, mar, sampling, training  # noqa: E402

PEERS = {"far": far.FARPeer, "mar": mar.MARPeer}
FRAMES = 6

FAMILIES = pytest.mark.parametrize("family", ["far", "mar"])
# Of torch.compile's own modules, when they are first imported
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore::FutureWarning:torch")


@functools.cache
def set_up(family, arg="tiny", seed=0):
  """In float64: a prior, its variables, a clip's inputs, condition, noise and key, and the codes that ours draws."""
  with jax.enable_x64(True):
    module = priors.model(family, arg, **({"learned_empty": True} if seed else {}))
    params, inputs = priors.parameters(module, seed, np.float64), priors.batch(module, FRAMES, 1, dtype=np.float64)
    keys = jax.random.split(jax.random.key(seed), 1)
    cond = priors.jit(functools.partial(module.apply, method="condition"))(params, *priors.conditions(inputs))
    noise = models.clip_noise(module, keys, FRAMES)
    state = sampler.FAMILIES[family].init_state(module, 1, np.float64)
    sample = priors.jit(functools.partial(sampler.FAMILIES[family].sample_chunk, module))
    weights = priors.jit(functools.partial(sampler.FAMILIES[family].fold, module))(params)
    codes, _ = sample(weights, state, cond, keys, 0, np.float64(1))
  return module, params, inputs, keys, jax.device_get(cond), np.asarray(noise), np.asarray(codes)


@FAMILIES
@pytest.mark.parametrize("mode", ["naive", "eager", "compile"])
@pytest.mark.parametrize("seed", [0, 1])
def test_codes_equal_ours_in_float64(family, mode, seed):
  """Twice, so that a clip does not go on from the one before it; seed 1 has other weights, and a learned empty code."""
  if sampling.unavailable(mode, "cpu"):
    pytest.skip(sampling.unavailable(mode, "cpu"))
  module, params, _, _, cond, noise, codes = set_up(family, seed=seed)
  peer = PEERS[family](params, module, "cpu", torch.float64)
  assert len(np.unique(codes)) > 1
  for _ in range(2):
    drawn = peer.sample(cond, noise, FRAMES, mode)
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn, codes)


@FAMILIES
@pytest.mark.parametrize("mode", ["graph", "compile+graph"])
def test_the_frame_that_a_graph_captures_equals_ours_run_as_it_is(monkeypatch, family, mode):
  """No graph without a GPU, but what is captured reads and writes fixed addresses, and runs here too."""
  module, params, _, _, cond, noise, codes = set_up(family)
  for file in (far, mar):
    monkeypatch.setattr(file, "capture", lambda frame: frame)
    monkeypatch.setattr(file, "compiled", lambda function, device: function)
  peer = PEERS[family](params, module, "cpu", torch.float64)
  addresses = lambda: [x.data_ptr() for x in (peer.drawn, peer.noise, *peer.cond)]
  before = addresses()
  np.testing.assert_array_equal(peer.sample(cond, noise, FRAMES, mode), codes)
  assert addresses() == before


@FAMILIES
def test_naive_steps_go_on_from_given_codes_through_the_receptive_field_alone(family):
  module, params, _, _, cond, noise, codes = set_up(family)
  peer = PEERS[family](params, module, "cpu", torch.float64)
  last = FRAMES * peer.steps_a_frame - 1
  assert peer.decoder.receptive_field == module.receptive_field
  wrong = codes.copy()
  wrong[:, -1, -1, -1] = (codes[:, -1, -1, -1] + 1) % module.num_codes
  np.testing.assert_array_equal(peer.naive(wrong, cond, noise, last, 1), codes)
  seen = []
  peer.decoder.register_forward_hook(lambda module, args, out: seen.append(args[0].shape[-2 if family == "mar" else 0]))
  peer.naive(codes, cond, noise, last, 1)
  assert seen == [min(module.receptive_field, last + 1)]


@FAMILIES
def test_the_check_of_equality_sees_what_is_not_ours(family):
  module, params, inputs, keys, _, _, codes = set_up(family)
  with jax.enable_x64(True):
    assert models.equality(module, params, inputs, codes, keys)["differences"] == 0
    wrong = codes.copy()
    wrong[0, -1, -1, -1, -1] ^= 1
    found = models.equality(module, params, inputs, wrong, keys)
  assert found["differences"] == 1 and found["largest_gap"] > 0 and found["equal"] == pytest.approx(1 - 1 / codes.size)


@FAMILIES
def test_float32_differs_at_near_ties_alone(family):
  module, params, inputs, keys, cond, _, _ = set_up(family)
  noise = models.clip_noise(module, keys, FRAMES)  # of other draws than in float64
  single = lambda tree: jax.tree.map(lambda x: x.astype(np.float32) if x.dtype == np.float64 else x, tree)
  params, inputs = single(jax.device_get((params, inputs)))
  drawn = PEERS[family](params, module).sample(single(cond), noise, FRAMES)
  found = models.equality(module, params, inputs, drawn, keys)
  assert found["equal"] > 0.99 and (found["largest_gap"] or 0) < 1e-4


@pytest.mark.parametrize("compile", [False, True])
def test_updates_equal_ours(compile):
  """Losses of three updates in a row: so do gradients and Adam."""
  if compile and sampling.unavailable("compile", "cpu"):
    pytest.skip(sampling.unavailable("compile", "cpu"))
  module, params, _, _, _, _, _ = set_up("mar")
  with jax.enable_x64(True):
    inputs = priors.batch(module, FRAMES, 2, dtype=np.float64)
    cond = priors.jit(functools.partial(module.apply, method="condition"))(params, *priors.conditions(inputs))
    state, update = models.decoder_training(module, params)
    update, ours = priors.jit(update), []
    for _ in range(3):
      state, loss = update(state, jnp.asarray(inputs["codes"]), cond)
      ours.append(float(loss))
  trainer = training.MARTrainer(params, module, "cpu", torch.float64, compile)
  theirs = [float(trainer.update(inputs["codes"], cond)) for _ in range(3)]
  assert ours[0] - ours[2] > 1e-3
  np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-9)


def test_the_program_writes_times_and_equality(tmp_path):
  if sampling.unavailable("compile", "cpu"):
    pytest.skip(sampling.unavailable("compile", "cpu"))
  out = tmp_path / "new" / "peer.json"
  options = ["--family=far", "--size=tiny", "--frames=3", "--rounds=2", "--naive_steps=1", f"--json={out}"]
  command = [sys.executable, "-m", "benchmarks.torch_peer.compare", *options]
  env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_NUM")}
  done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr
  found = json.loads(out.read_text())
  assert found["unit"] == "frame" and found["versions"]["torch"] == torch.__version__ and found["threads"] >= 1
  for mode in ("eager", "compile", "naive"):
    assert found["sampling"][mode]["equal"] == 1.0
    times = found["sampling"][mode]["microseconds"]
    assert 0 < times["low"] <= times["median"] <= times["high"] and times["rounds"] == 2
  assert "GPU" in found["sampling"]["graph"]["skipped"]


def test_what_cannot_run_here_is_said_in_a_line():
  assert "GPU" in sampling.unavailable("graph", "cpu")
  assert sampling.unavailable("eager", "cpu") is None
  assert sampling.unavailable("graph", "cuda") is None
