"""Faults of a run's folder, data and numbers (faults 18 to 26), on a small problem in the real loop."""

import dataclasses
import gc
import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax import build
from nwt_jax.configs import dvae_lwt
from nwt_jax.errors import InputError
from nwt_jax.io.video import write_video
from nwt_jax.objectives.dvae import make_losses
from nwt_jax.train import loop
from nwt_jax.train.runtime import workdir
from nwt_jax.train.runtime.health import DivergenceWatch
from nwt_jax.train.stages.dvae_step import init_state, make_dvae_step
from tests import priors
from tests.faults.conftest import line_config, line_stage, run_line, steps_of


def lines(folder):
  return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def same(first, second):
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(first), jax.device_get(second))


def test_fault_18_a_full_disk_costs_metrics_but_not_the_run(tmp_path, capsys):
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "metrics.jsonl").symlink_to("/dev/full")
  state = run_line(tmp_path / "run")
  assert capsys.readouterr().err.count("metrics cannot be written (No space left on device)") == 1
  same(state, run_line(tmp_path / "whole"))


def test_fault_18_a_full_disk_costs_an_export_but_not_the_run(tmp_path, capsys):
  def export(state, folder):
    if int(state.step) in full:
      raise OSError(28, "No space left on device")

  full = (4, 8)
  state = run_line(tmp_path / "run", export=export)
  assert "step 4: pictures or export could not be made ([Errno 28] No space left" in capsys.readouterr().err
  assert steps_of(tmp_path / "run") == [4, 8, 12] and int(state.step) == 12
  full = (12,)  # at the end the export is what training was for
  with pytest.raises(InputError, match="export could not be made .* the state is saved: give the same command again"):
    run_line(tmp_path / "again", export=export)
  assert steps_of(tmp_path / "again")[-1] == 12
  full = ()
  run_line(tmp_path / "again", export=export)


def test_fault_18_a_video_that_cannot_be_written_is_a_warning(tmp_path, capsys):
  """What ffmpeg cannot write is an InputError."""

  def evaluate(state, folder):
    if int(state.step) < 12:
      write_video(Path("/proc/none/clip.mp4"), np.zeros((4, 32, 32, 3), np.uint8))
    return {"score": 1.0}

  config = line_config(12, eval_every=4)
  loop.train(config, tmp_path, lambda config: dataclasses.replace(line_stage(config), evaluate=evaluate))
  assert "step 4: pictures or export could not be made" in capsys.readouterr().err
  assert steps_of(tmp_path) == [4, 8, 12]


def test_fault_19_a_workdir_that_cannot_be_written_is_a_line_and_odd_names_work(tmp_path):
  (tmp_path / "file").write_text("mine")
  with pytest.raises(InputError, match="file is a file; give a folder"):
    run_line(tmp_path / "file")
  assert (tmp_path / "file").read_text() == "mine"
  with pytest.raises(InputError, match="--workdir=/proc/none cannot be written .*give a folder"):
    run_line("/proc/none")
  run_line(tmp_path / "a b" / "größe 日本")
  assert steps_of(tmp_path / "a b" / "größe 日本") == [4, 8, 12]


def hold(folder, ready):
  with workdir.lock_workdir(Path(folder)):
    ready.set()
    time.sleep(600)


def test_fault_20_one_trainer_a_folder_and_a_killed_one_leaves_no_lock(tmp_path):
  context = multiprocessing.get_context("spawn")
  ready = context.Event()
  other = context.Process(target=hold, args=(str(tmp_path / "run"), ready))
  other.start()
  assert ready.wait(120)
  with pytest.raises(InputError, match="another program is training in .*; wait for it, or use another --workdir"):
    run_line(tmp_path / "run")
  other.kill()
  other.join()
  run_line(tmp_path / "run")


def test_fault_21_a_harmless_change_is_said_and_another_model_refused(tmp_path, capsys):
  run_line(tmp_path, line_config(4))
  config = line_config(8)
  config.optim.learning_rate = 0.2
  run_line(tmp_path, config)
  out = capsys.readouterr().out
  assert "config changed: optim.learning_rate was 0.1, is 0.2" in out
  assert "config changed: train.steps was 4, is 8" in out
  config.model.width = 9
  with pytest.raises(InputError, match="another `model`"):
    run_line(tmp_path, config)


def test_a_switch_of_the_model_that_came_later_and_is_off_stops_no_run(tmp_path):
  run_line(tmp_path, line_config(4))  # a config.json of before the switch
  config = line_config(8)
  config.model.switch = False
  run_line(tmp_path, config)
  config.model.switch = True
  with pytest.raises(InputError, match="another `model`"):
    run_line(tmp_path, config)


def test_fault_22_an_update_that_is_not_finite_is_left_out_and_counted(tmp_path, capsys):
  state = run_line(tmp_path / "run", bad=(5,))
  assert int(state.step) == 12 and np.isfinite(state.weights["w"]).all()
  rows = [line for line in lines(tmp_path / "run") if "loss/fit" in line]
  assert [row["health/skipped"] for row in rows] == [0] * 5 + [1] * 7
  assert [row["health/skipped_in_row"] for row in rows] == [0] * 5 + [1] + [0] * 6
  assert rows[5]["loss/fit"] is None
  assert "step 6: 1 updates in a row were not finite and changed nothing" in capsys.readouterr().err


def test_fault_22_some_in_a_row_stop_the_run_with_a_bundle(tmp_path):
  config = line_config(40, max_skipped=3)
  with pytest.raises(InputError, match=r"diverged at step 7: 3 updates .* keeps checkpoint 4"):
    run_line(tmp_path / "run", config, bad=range(6, 40))
  bundle = tmp_path / "run" / "diverged" / "0000007"
  report = json.loads((bundle / "report.json").read_text())
  assert report["step"] == 7 and report["last_checkpoint"] == 4 and steps_of(tmp_path / "run") == [4]
  with np.load(bundle / "batch-0.npz") as batch:
    again = next(line_stage(config, bad=range(6, 40)).batches(6))
    np.testing.assert_array_equal(batch["x"], again["x"])
    assert np.isnan(batch["x"]).any()
  assert all(np.isfinite(float(v)) for v in report["parameter_norms"].values())
  # As the report says: the same command meets it again
  assert "--config.train.steps=7 --config.train.log_every=1 --config.train.max_skipped=1" in report["again"]
  shutil.copytree(tmp_path / "run", tmp_path / "again")
  with pytest.raises(InputError, match="diverged at step 7"):
    run_line(tmp_path / "again", line_config(7, max_skipped=1), bad=range(6, 40))
  # What the checkpoint holds is finite, and goes on where the data is mended.
  state = run_line(tmp_path / "run", config)
  assert np.isfinite(state.weights["w"]).all() and int(state.step) == 40


def test_fault_22_a_gradient_that_explodes_stops_the_run(tmp_path):
  with pytest.raises(InputError, match=r"diverged at step \d+: grad_norm/line is .*, its median was"):
    run_line(tmp_path / "run", line_config(60), grow=40)
  assert steps_of(tmp_path / "run")[-1] == 40
  watch = DivergenceWatch(max_skipped=3, max_growth=0)
  assert watch.check({"grad_norm/a": 1e30}) == (None, None)


def test_fault_22_a_state_that_is_not_finite_is_not_saved(tmp_path):
  """Metrics look well, and no gradient says it: an infinite weight."""

  def stage(config):
    whole = line_stage(config)

    def step(state, batch):
      state, metrics = whole.step(state, batch)
      weights = {"w": jnp.where(state.step == 8, jnp.inf, state.weights["w"])}
      return state.replace(weights=weights), {"loss/fit": metrics["loss/fit"]}

    return dataclasses.replace(whole, step=step)

  config = line_config(8)
  with pytest.raises(InputError, match="diverged at step 8: the state is not finite"):
    loop.train(config, tmp_path, stage)
  assert steps_of(tmp_path) == [4]


def test_fault_22_a_loss_that_is_not_finite_stops_the_run(tmp_path):
  """Of a step that leaves nothing out."""

  def stage(config):
    whole = line_stage(config, bad=(5,))
    keep = lambda metrics: {"loss/fit": metrics["loss/fit"]}
    return dataclasses.replace(whole, step=lambda s, b: (lambda done: (done[0], keep(done[1])))(whole.step(s, b)))

  config = line_config(8)
  with pytest.raises(InputError, match="diverged at step 6: loss/fit is not finite"):
    loop.train(config, tmp_path, stage)


def test_the_last_update_is_saved_even_if_it_was_left_out(tmp_path):
  run_line(tmp_path, bad=(11,))
  assert steps_of(tmp_path) == [4, 8, 12]


def test_a_checkpoint_that_does_not_fit_leaves_the_config_as_it_was(tmp_path):
  run_line(tmp_path, line_config(4))
  before = (tmp_path / "config.json").read_text()
  config = line_config(8)
  config.optim.clip = 1.0
  with pytest.raises(InputError, match="does not fit this config"):
    run_line(tmp_path, config)
  assert (tmp_path / "config.json").read_text() == before


@pytest.mark.parametrize("family", ["far", "mar"])
def test_fault_22_a_prior_survives_a_mel_that_is_not_finite(family):
  from nwt_jax.objectives.prior import prior_loss
  from nwt_jax.train.stages import prior_step

  module = priors.model(family)
  tx = build.optimiser(line_config().optim)
  loss = prior_step.make_prior_loss(module, lambda *a: prior_loss(*a, style_kl_weight=1.0), 0, 0)
  step = priors.jit(prior_step.make_prior_step(loss, tx, 0))
  batch = priors.batch(module, 4)
  batch = {"codes": batch["codes"], "mel": batch["mel"], "episode": batch["episode"][:, 0]}
  state = prior_step.init_state(priors.parameters(module), tx)
  bad, metrics = step(state, {**batch, "mel": batch["mel"].at[0, 1, 2].set(jnp.nan)})
  same(bad.prior, state.prior)
  assert int(metrics["health/skipped"]) == 1 and int(bad.step) == 1
  good, metrics = step(bad, batch)
  assert int(metrics["health/skipped_in_row"]) == 0 and int(metrics["health/skipped"]) == 1
  assert any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), good.prior, state.prior)))


def test_fault_23_black_clips_and_a_flat_critic_are_finite():
  """Equal pictures everywhere, and critics whose gradient by the picture is zero: the penalty's root is at 0."""
  config = dvae_lwt.get_config("tiny")
  with config.unlocked():
    config.model.update({"stages": ((1, 4),), "num_episodes": 2, "temporal": ((2, 4),)})
    config.critics = ((((1, 4, 4), 2, 1, 4),),)
  model, critics = build.dvae(config.model), build.critics(config.critics, 0)
  video, episode = jnp.zeros((1, 2, 8, 8, 3)), jnp.zeros((1, 2), jnp.int32)
  begin = jax.jit(lambda key, noise: model.init(key, video, episode, noise, "gumbel"))
  gen = begin(jax.random.key(0), jax.random.key(1))
  critic = jax.tree.map(jnp.zeros_like, jax.jit(critics.init)(jax.random.key(2), video))
  tx = build.optimiser(config.optim.gen)
  losses = make_losses(model.apply, critics.apply, build.dvae_loss_weights(config.objective))
  batch = {"video": jnp.zeros((2, 3, 8, 8, 3), jnp.uint8), "episode": jnp.zeros(2, jnp.int32)}
  state, metrics = jax.jit(make_dvae_step(losses, tx, tx, 0))(init_state(gen, critic, tx, tx), batch)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, metrics)))
  assert float(metrics["loss/gradient_penalty"]) == 1.0 and int(metrics["health/skipped"]) == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what Orbax leaves of a failed save
def test_fault_24_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
  """Orbax reads its time-outs off the wall clock: a save that a jump falls into may fail, and is made again."""
  whole = run_line(tmp_path / "whole")
  true, offset = time.time, [0.0]
  monkeypatch.setattr(time, "time", lambda: true() + offset[0])

  def jump(step):
    offset[0] += {2: 86_400.0, 4: 86_400.0, 8: -3 * 86_400.0, 10: 3_600.0}.get(step, 0.0)

  run_line(tmp_path / "run", line_config(8), before=jump)
  same(run_line(tmp_path / "run", before=jump), whole)
  assert steps_of(tmp_path / "run")[-1] == 12
  gc.collect()


def test_fault_25_other_data_under_the_same_name_is_refused(tmp_path):
  run_line(tmp_path, line_config(4), data="a" * 64)
  with pytest.raises(InputError, match=r"on other data \(fingerprint aaaaaaaaaaaa, now bbbbbbbbbbbb\)"):
    run_line(tmp_path, line_config(8), data="b" * 64)
  run_line(tmp_path, line_config(8), data="a" * 64)


def test_fault_26_another_jax_version_is_a_warning(tmp_path, caplog):
  run_line(tmp_path, line_config(4))
  facts = json.loads((tmp_path / "run.json").read_text())
  (tmp_path / "run.json").write_text(json.dumps({**facts, "jax": "0.0.1"}))
  assert int(run_line(tmp_path, line_config(8)).step) == 8
  assert f"jax was 0.0.1, is {jax.__version__}" in caplog.text and "not bit for bit" in caplog.text


def test_time_memory_and_left_out_updates_are_metrics(tmp_path):
  run_line(tmp_path)
  first = next(line for line in lines(tmp_path) if "loss/fit" in line)
  wanted = {"time/data", "time/compute", "time/save", "time/evaluate", "memory/host_mib", "health/skipped"}
  assert wanted <= first.keys() and first["memory/host_mib"] > 50


def test_the_split_of_time_names_what_is_slow(tmp_path):
  slow = lambda step: time.sleep(0.05) if step > 2 else None
  run_line(tmp_path, line_config(12, log_every=12), before=slow)
  last = [line for line in lines(tmp_path) if "loss/fit" in line][-1]
  assert last["time/data"] > 0.02 and last["time/data"] > 3 * last["time/save"]


def test_checks_of_numbers(tmp_path):
  for name, value, message in (
    ("fsdp", 3, "does not divide 4 devices"),
    ("accumulate", 3, "in 3 parts"),
    ("accumulate", 4, "in 4 parts"),
    ("max_skipped", 0, "wanted 1 or more"),
  ):
    config = line_config(4)
    config.train[name] = value
    with pytest.raises(InputError, match=message):
      loop.train(config, tmp_path / "run", line_stage)
  assert os.listdir(tmp_path) == []
