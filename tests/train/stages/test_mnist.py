"""The MNIST stage: what each loss trains, what it compares, and that a resumed run equals an uninterrupted one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax import build
from nwt_jax.configs import dvae_mnist
from nwt_jax.data.mnist import digit_batches
from nwt_jax.errors import InputError
from nwt_jax.io.release import load_release
from nwt_jax.objectives import terms
from nwt_jax.objectives.dvae import make_losses
from nwt_jax.train import loop
from nwt_jax.train.stages import mnist
from nwt_jax.train.stages.dvae_step import prepare
from tests.digits import folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  return folder(tmp_path_factory.mktemp("mnist"))


def tiny(data, arg):
  config = dvae_mnist.get_config(f"tiny,heads=2,codes=3,{arg}")
  with config.unlocked():
    config.data.path = str(data)
  return config


@pytest.mark.parametrize("arg", ["loss=elbo", "loss=adv", "loss=class", "loss=frozen"])
def test_each_loss_trains_what_it_says(data, arg):
  config = tiny(data, arg)
  train, held_out = mnist.split(config)
  assert (len(train.labels), len(held_out.labels)) == (36, 4)
  classifier = mnist.train_classifier(config, train, 1) if arg == "loss=frozen" else None
  stage = mnist.make_stage(config, classifier)
  batch = next(stage.batches(0))
  rows = [next(digit_batches(train, 8, config.data.seed, shift=shift))["video"] for shift in (config.data.shift, 0)]
  np.testing.assert_array_equal(batch["video"], rows[0])
  assert (rows[0] != rows[1]).any() == (arg in ("loss=class", "loss=frozen"))
  state, metrics = jax.jit(stage.step, compiler_options=build.QUICK_COMPILE)(stage.state, batch)
  moved = lambda tree, before: not all(jax.tree.leaves(jax.tree.map(np.array_equal, tree, before)))
  assert moved(state.gen, stage.state.gen)
  assert moved(state.critic, stage.state.critic) == (arg in ("loss=adv", "loss=class"))
  assert ("loss/class" in metrics) == (arg == "loss=class") and ("loss/gan" in metrics) == (
    arg in ("loss=adv", "loss=class")
  )
  # what L_recon compares
  video, episode, label = prepare(jax.tree.map(jnp.asarray, batch))
  critics = build.critics(config.critics, config.num_classes)
  model = build.dvae(config.model)
  key = jax.random.split(jax.random.fold_in(jax.random.key(config.train.seed), 0))[0]
  generate = jax.jit(lambda *given: model.apply(*given, "gumbel"), compiler_options=build.QUICK_COMPILE)
  recon, _ = generate(stage.state.gen, video, episode, key)
  if arg == "loss=elbo":
    expected = np.mean((video - recon) ** 2)
  else:
    output_of = jax.jit(critics.apply, compiler_options=build.QUICK_COMPILE)
    layers = [output_of(stage.state.critic, x).features[0] for x in (video, recon)]
    chosen = zip(*layers, strict=True) if arg == "loss=adv" else [[maps[-1] for maps in layers]]
    expected = sum(np.mean(np.abs(a - b)) for a, b in chosen)
  np.testing.assert_allclose(metrics["loss/recon"], expected, rtol=1e-4)


def test_the_class_loss_sees_real_pictures_alone(data):
  config = tiny(data, "loss=class")
  with config.unlocked():
    config.objective.class_smoothing = 0.5
  stage = mnist.make_stage(config)
  inputs = prepare(jax.tree.map(jnp.asarray, next(stage.batches(0))))
  critics, model = build.critics(config.critics, config.num_classes), build.dvae(config.model)
  weights = lambda weight: build.dvae_loss_weights({**config.objective.to_dict(), "class_weight": weight})

  @functools.partial(jax.jit, compiler_options=build.QUICK_COMPILE)
  def found(gen, critic, inputs):
    losses = [make_losses(model.apply, critics.apply, weights(weight)) for weight in (2.0, 0.0)]
    entropy = terms.class_cross_entropy(
      critics.apply(critic, inputs[0]).classes, inputs[2], config.objective.class_smoothing
    )
    return [loss(gen, critic, *inputs, jax.random.key(0), 0) for loss in losses], entropy

  (with_class, without), entropy = found(stage.state.gen, stage.state.critic, inputs)
  np.testing.assert_allclose(with_class[1] - without[1], 2.0 * entropy, rtol=1e-3)
  assert with_class[0] == without[0]


def test_the_classifier_learns_from_what_the_config_says(data):
  def trained(**fields):
    config = tiny(data, "loss=frozen")
    config.update_from_flattened_dict(fields)
    return jax.tree.leaves(mnist.train_classifier(config, mnist.split(config)[0], 2))

  usual = trained()
  for name, value in (("objective.class_smoothing", 0.0), ("data.shift", 0)):
    assert not all(map(np.array_equal, usual, trained(**{name: value})))


def test_a_resumed_run_equals_an_uninterrupted_one(data, tmp_path):
  def run(name, *steps):
    for number in steps:
      config = tiny(data, "loss=class")
      with config.unlocked():
        config.train.update({"steps": number, "save_every": 1})
      _, evaluation = loop.train(config, tmp_path / name)
    return load_release(tmp_path / name, "dvae")[0], evaluation

  (whole, first), (resumed, second) = run("whole", 3), run("parts", 2, 3)
  jax.tree.map(np.testing.assert_array_equal, whole, resumed)
  assert first == second and {"pixel_l1", "permutations", "critic_accuracy"} == first.keys()
  assert (tmp_path / "whole" / "eval" / "0000003" / "real_above_reconstruction.png").stat().st_size > 100


def test_what_cannot_be_trained_is_refused(data):
  with pytest.raises(InputError, match="needs pretrained critics"):
    mnist.make_stage(tiny(data, "loss=frozen"))
  config = tiny(data, "loss=adv")
  with config.unlocked():
    config.objective.class_weight = 1.0
  with pytest.raises(InputError, match="needs clips with classes"):
    mnist.make_stage(config)
  for held_out in (0, 40):
    with config.unlocked():
      config.data.held_out = held_out
    with pytest.raises(InputError, match="keep some on both sides"):
      mnist.make_stage(config)
