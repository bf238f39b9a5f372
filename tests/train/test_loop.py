"""Both stages end to end at a tiny size: what a run writes, and that a resumed run equals an uninterrupted one."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax.configs import dvae_lwt, far, mar
from nwt_jax.configs import tokenize as tokenize_config
from nwt_jax.data.clips import spread
from nwt_jax.data.tokens import Tokens
from nwt_jax.errors import InputError
from nwt_jax.io.release import load_card, load_release, save_release
from nwt_jax.train import loop
from nwt_jax.train.stages import dvae, dvae_eval, prior, prior_data, prior_step
from nwt_jax.train.stages.tokenize import tokenize
from tests import priors
from tests.io.test_release import strings


def dvae_config(data, steps):
  config = dvae_lwt.get_config("tiny")
  with config.unlocked():
    config.data.update({"path": str(data), "frames": 3, "num_threads": 0})
    config.train.update({"steps": steps, "save_every": 2, "eval_every": 100, "ema_decay": 0.5, "keep": 1})
    # three, as in Table 4b: one over time, one with groups, one more
    config.critics = ((((2, 4, 4), 4, 1, 4),), (((1, 2, 2), 1, 1, 4), ((1, 4, 4), 2, 2, 4)), (((1, 4, 4), 4, 1, 4),))
  return config


@pytest.fixture(scope="module")
def stage1(dataset, tmp_path_factory):  # noqa: F811
  workdir = tmp_path_factory.mktemp("runs") / "dvae"
  config = dvae_config(dataset, 4)
  state, evaluation = loop.train(config, workdir)
  return workdir, evaluation, state


def test_a_run_writes_what_people_look_at(stage1):
  workdir, evaluation, _ = stage1
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  assert [line["step"] for line in lines if "loss/gen" in line] == [1, 2, 3, 4]
  assert {"loss/recon", "loss/gradient_penalty", "codes/used", "grad_norm/critic"} <= lines[0].keys()
  assert list((workdir / "tensorboard").iterdir())
  for name in ("real_above_reconstruction.png", "real_beside_reconstruction.mp4"):
    assert (workdir / "eval" / "0000004" / name).stat().st_size > 1000
  assert evaluation["ssim"] <= 1 and lines[-1]["eval/ssim"] == pytest.approx(evaluation["ssim"])
  params, card = load_release(workdir, "dvae")
  assert card["training"]["steps"] == 4 and card["episodes"] and "encoder" in params["params"]


def test_fault_02_a_resumed_run_equals_an_uninterrupted_one(stage1, dataset, tmp_path):  # noqa: F811
  for steps in (2, 4):
    config = dvae_config(dataset, steps)
    state, _ = loop.train(config, tmp_path / "run")
  resumed, _ = load_release(tmp_path / "run", "dvae")
  whole, _ = load_release(stage1[0], "dvae")
  jax.tree.map(np.testing.assert_array_equal, resumed, whole)
  # Critics and optimisers too, not what is released alone
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), jax.device_get(stage1[2]))


def test_a_workdir_of_another_model_is_refused(stage1, dataset):  # noqa: F811
  config = dvae_config(dataset, 4)
  with config.unlocked():
    config.model.stem = 6
  with pytest.raises(InputError, match="another `model`"):
    loop.train(config, stage1[0])


def test_starting_from_released_weights(stage1, dataset):  # noqa: F811
  config = dvae_config(dataset, 4)
  config.train.init = str(stage1[0])
  released, _ = load_release(stage1[0], "dvae")
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(dvae.make_stage(config).state.gen), released)
  with config.unlocked():
    config.model.stem = 6
  with pytest.raises(InputError, match="use its config"):
    dvae.make_stage(config)


def test_modules_that_are_named_are_drawn_anew(stage1, dataset, tmp_path):  # noqa: F811
  params, card = load_release(stage1[0], "dvae")
  inside = params["params"]
  save_release(tmp_path, "dvae", {"params": {**inside, "episodes": np.zeros((99, 3))}}, card)
  config = dvae_config(dataset, 4)
  drawn = jax.device_get(dvae.make_stage(config).state.gen)["params"]["episodes"]
  config.train.init = str(tmp_path)
  with pytest.raises(InputError, match=r"episodes is \(99, 3\), wanted .*--config.train.reinit=episodes"):
    dvae.make_stage(config)
  config.train.reinit = "episodes"
  got = jax.device_get(dvae.make_stage(config).state.gen)
  assert (inside["episodes"] != drawn).any()
  jax.tree.map(np.testing.assert_array_equal, got, {"params": {**inside, "episodes": drawn}})
  config.train.reinit = "episode"
  with pytest.raises(InputError, match="no module 'episode'; choose from .*episodes"):
    dvae.make_stage(config)


def test_a_checkpoint_of_another_optimiser_is_refused(stage1, dataset):  # noqa: F811
  config = dvae_config(dataset, 6)
  config.optim.gen.clip = 1.0  # adds a stage to the optimiser, and so to its state
  with pytest.raises(InputError, match=r"does not fit this config: opt_gen/\S+ is .*, wanted .*; use its config"):
    loop.train(config, stage1[0])


def test_one_collapsed_head_is_a_warning():
  warn = dvae_eval.collapse_warning(8, memcodes=4)
  healthy = {"codes/used": 7.0, "codes/used_min": 2.0, "codes/perplexity_by_head/0": 5.0}
  assert warn(healthy) is None
  assert "codebook collapse" in warn({**healthy, "codes/used_min": 1.0})  # the other heads keep the mean high
  many = dvae_eval.collapse_warning(46, memcodes=128)
  assert "a head uses 6 of 46 codes" in many({**healthy, "codes/used_min": 6.0})
  assert many({**healthy, "codes/used_min": 30.0}) is None
  assert dvae_eval.collapse_warning(8, memcodes=1)({**healthy, "codes/used_min": 1.0}) is None  # a part of one picture


@pytest.fixture(scope="module")
def tokens(stage1, dataset, tmp_path_factory):  # noqa: F811
  path = tmp_path_factory.mktemp("tokens") / "tokens"
  config = tokenize_config.get_config("tiny")
  config.data.path, config.dvae = str(dataset), str(stage1[0])
  tokenize(config, path)
  return path


@pytest.mark.parametrize("family", ["mar", "far"])
def test_fault_02_stage_2_trains_on_tokens_and_resumes(family, tokens, tmp_path):
  weights, states = [], []
  for name, stops in (("whole", (4,)), ("resumed", (2, 4))):
    for steps in stops:
      config = {"mar": mar, "far": far}[family].get_config("tiny,corrupt_history")
      config.data.update({"path": str(tokens), "num_threads": 0})
      config.train.update({"steps": steps, "eval_every": 4})
      config.sample.style_clips = 2
      state, evaluation = loop.train(config, tmp_path / name)
    weights.append(load_release(tmp_path / name, family)[0])
    states.append(jax.device_get(state))
  jax.tree.map(np.testing.assert_array_equal, *weights)
  jax.tree.map(np.testing.assert_array_equal, *states)
  assert evaluation["loss/ce"] < 2 * np.log(4)
  card = load_release(tmp_path / "whole", family)[1]
  assert card["frames"] == 8 and card["temperature"] == 1.0 and card["sampler"] == "gumbel"
  variables, data = weights[0], Tokens(tokens, "train")
  assert card["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  chosen = spread(data.index, 2, 8)
  codes = jnp.stack([jnp.asarray(data[clip]["codes"][start : start + 8], jnp.int32) for clip, start in chosen])
  module = prior.build.prior(family, card["model"])
  mean = module.apply(jax.tree.map(jnp.asarray, variables), codes, method="style_posterior")[0]
  np.testing.assert_allclose(variables["styles"]["mean"], mean, rtol=1e-4, atol=1e-5)
  assert list(variables["styles"]["episode"]) == [data[clip]["episode"] for clip, _ in chosen]
  assert (tmp_path / "whole" / "eval" / "0000004" / "real_beside_sampled.mp4").stat().st_size > 1000
  assert load_release(tmp_path / "whole", "dvae")[1]["family"] == "dvae"


def test_runs_that_were_moved_go_on_and_find_what_they_came_from(stage1, dataset, tmp_path, capsys):  # noqa: F811
  old, new, away = tmp_path / "old" / "runs", tmp_path / "new", tmp_path / "away"
  shutil.copytree(dataset, old / "clips")
  shutil.copytree(stage1[0], old / "dvae")
  config = tokenize_config.get_config("tiny")
  config.data.path, config.dvae = str(old / "clips"), str(old / "dvae")
  tokenize(config, old / "tokens")

  def make(root, steps, dvae="", clips=""):
    config = mar.get_config("tiny")
    config.dvae = str(dvae)
    config.data.update({"path": str(root / "tokens"), "clips": str(clips), "num_threads": 0})
    config.train.update({"steps": steps, "eval_every": 2})
    return config

  def train(root, steps, **given):
    config = make(root, steps, **given)
    state, _ = loop.train(config, root / "mar")
    film = root / "mar" / "eval" / f"{steps:07d}" / "real_beside_sampled.mp4"
    return int(state.step), film.exists(), capsys.readouterr().out

  assert train(old, 2)[:2] == (2, True)
  stored = [Tokens(old / "tokens", "train").metadata, *(load_card(old / "mar", family) for family in ("mar", "dvae"))]
  assert not [text for facts in stored for text in strings(facts) if text.startswith("/") or str(tmp_path) in text]
  old.rename(new)
  step, film, out = train(new, 4)
  assert step == 4 and film and f"resuming {new / 'mar'} at step 2" in out
  # Apart from each other they are not found, and the line names the flag
  away.mkdir()
  (new / "clips").rename(away / "clips")
  step, film, out = train(new, 6)
  assert (
    step == 6 and not film and "no pictures: the clips of the tokens in" in out and "--config.data.clips=DIR" in out
  )
  assert train(new, 6, clips=away / "clips")[:2] == (6, True)
  (new / "dvae").rename(away / "dvae")
  with pytest.raises(InputError, match=r"is not where they tell \(../dvae\).* --config.dvae=DIR"):
    prior.make_stage(make(new, 8))
  with pytest.raises(InputError, match=f"--config.dvae={new / 'dvae'}: .*no such folder"):
    prior.make_stage(make(new, 8, dvae=new / "dvae"))
  with pytest.raises(InputError, match=f"--config.data.clips={new / 'clips'}: .*holds no data set"):
    prior.make_stage(make(new, 8, away / "dvae", new / "clips"))
  prior.make_stage(make(new, 8, away / "dvae", away / "clips"))
  facts = json.loads((away / "clips" / "metadata.json").read_text())
  (away / "clips" / "metadata.json").write_text(json.dumps({**facts, "fingerprint": "0"}))
  with pytest.raises(InputError, match="are not the clips that the tokens"):
    prior.make_stage(make(new, 8, away / "dvae", away / "clips"))


def test_starting_weights_that_are_gone_name_their_flag(stage1, dataset):  # noqa: F811
  config = dvae_config(dataset, 4)
  config.train.init = "/none"
  with pytest.raises(InputError, match="--config.train.init=/none: .*a run that goes on needs no such flag"):
    dvae.make_stage(config)


def test_speech_gain_is_zero_for_a_prior_without_speech(tokens, tmp_path):
  config = far.get_config("tiny")
  config.data.update({"path": str(tokens), "num_threads": 0})
  stage = prior.make_stage(config)

  def gain(params):
    state = stage.state.replace(prior=params)
    stage.export(state, tmp_path / "run" / "export")
    return stage.evaluate(state, tmp_path / "run" / "eval" / "0")["speech_gain"]

  params = priors.parameters(priors.model("far", num_episodes=config.model.num_episodes))
  silence = jax.tree.map(np.zeros_like, params["params"]["audio_upsampler"])
  deaf = {"params": {**params["params"], "audio_upsampler": silence}}
  assert gain(deaf) == 0
  assert abs(gain(params)) > 1e-4
  assert gain(stage.state.prior) == 0  # a new prior has yet to learn to listen


def test_weights_of_positions_come_from_the_training_tokens(tokens):
  data = Tokens(tokens, "train")
  objective = far.get_config("tiny").objective
  rate = lambda: prior_data.change_rate(data, 8)
  assert prior_step.make_objective(objective, rate, 8).keywords == {"style_kl_weight": 1.0}
  codes = [data[i]["codes"] for i in range(len(data))]
  moving = np.concatenate([c[1:] != c[:-1] for c in codes]).mean(axis=(0, 3))
  with objective.unlocked():
    objective.update({"change_weighting": 1.0, "first_frame_weight": 2.0})
  weights = prior_step.make_objective(objective, rate, 8).keywords["weights"]
  np.testing.assert_allclose(weights[1:] / weights[:1], np.tile(moving / moving.mean() / 2, (7, 1, 1)), rtol=1e-4)


def test_tokens_of_another_grid_are_refused(tokens):
  config = mar.get_config("tiny")
  config.data.path = str(tokens)
  config.model.grid = (8, 7)
  with pytest.raises(InputError, match="4 x 3 Memcodes"):
    prior.make_stage(config)


def test_tokens_of_another_dvae_are_refused(tokens, stage1, tmp_path):
  params, card = load_release(stage1[0], "dvae")
  params["params"]["episodes"] += 1
  save_release(tmp_path, "dvae", params, card)
  config = mar.get_config("tiny")
  config.data.path, config.dvae = str(tokens), str(tmp_path)
  with pytest.raises(InputError, match="another dVAE"):
    prior.make_stage(config)


@pytest.mark.parametrize(
  "field, value, message",
  [("train.log_every", 0, "1 or more"), ("objective.reconstruction", "pixel", "features, penultimate, pixels")],
)
def test_bad_values_are_refused(dataset, tmp_path, field, value, message):  # noqa: F811
  config = dvae_config(dataset, 4)
  config.update_from_flattened_dict({field: value})
  with pytest.raises(InputError, match=message):
    loop.train(config, tmp_path / "run")
