"""The Memcode layer learns: A.2's ELBO model on drawn numerals; and a broken layer is seen not to."""

import jax
import jax.numpy as jnp
import pytest

from nwt_jax import build
from nwt_jax.analysis import hamming
from nwt_jax.configs import dvae_mnist
from nwt_jax.generate.render import from_pixels
from nwt_jax.models import memcodes
from nwt_jax.train.stages import mnist
from tests.digits import folder

STEPS = 300


def trained(data, seed):
  config = dvae_mnist.get_config("loss=elbo")
  with config.unlocked():
    config.data.update({"path": str(data), "held_out": 500, "seed": seed})
    config.train.seed = seed
  stage = mnist.make_stage(config)
  # Runs more than it compiles, unlike other tests
  step = jax.jit(stage.step, donate_argnums=0, compiler_options={"xla_backend_optimization_level": 3})
  state = stage.state
  for _, batch in zip(range(STEPS), stage.batches(0), strict=False):
    state, _ = step(state, batch)
  return config, state.gen


def measured(config, params):
  """Accuracy of the nearest Memcode; errors of reconstructions from sampled and from the likeliest Memcodes, in units
  of the mean picture's."""
  train, held_out = mnist.split(config)
  encode = mnist.make_encoder(config)
  codes, base = (encode(params, part.pictures) for part in (held_out, train))
  accuracy, _ = hamming.nearest_label_accuracy(codes, held_out.labels, base, train.labels)
  video = from_pixels(jnp.asarray(held_out.pictures))
  episode = jnp.zeros(video.shape[:2], jnp.int32)
  mean = from_pixels(jnp.asarray(train.pictures)).mean(axis=0, keepdims=True)

  def error(sampler):
    recon, _ = build.dvae(config.model).apply(params, video, episode, jax.random.key(0), sampler)
    return float(jnp.mean((recon - video) ** 2) / jnp.mean((mean - video) ** 2))

  return accuracy, error("gumbel"), error("argmax")


def holds(accuracy, sampled, likeliest):
  """What a whole layer reaches here: codes that tell digits apart and reconstruct them, and that bear their noise."""
  return accuracy > 0.33 and likeliest < 0.7 and sampled < 1.1 * likeliest


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  return folder(tmp_path_factory.mktemp("mnist"), train=4_000)


def test_the_layer_learns(data):
  found = measured(*trained(data, seed=0))
  print("whole:", *(f"{value:.3f}" for value in found))
  assert holds(*found)


def no_noise(patch):
  patch.setattr(memcodes, "gumbel", lambda key, shape, dtype=jnp.float32: jnp.zeros(shape, dtype))


def wrong_gradient(patch):
  whole = memcodes.straight_through
  turned = lambda x, noise: 2 * jax.lax.stop_gradient(whole(x, noise)) - whole(x, noise)
  patch.setattr(memcodes, "straight_through", turned)


def no_gradient(patch):
  whole = memcodes.straight_through
  patch.setattr(memcodes, "straight_through", lambda x, noise: jax.lax.stop_gradient(whole(x, noise)))


def one_head_for_all(patch):
  whole = memcodes.HardAttention.logits
  patch.setattr(memcodes.HardAttention, "logits", lambda self, x: jnp.repeat(whole(self, x)[..., :1, :], 11, axis=-2))


@pytest.mark.slow
@pytest.mark.parametrize("fault", [no_noise, wrong_gradient, no_gradient, one_head_for_all])
def test_a_broken_layer_is_seen(data, fault):
  with pytest.MonkeyPatch.context() as patch:
    fault(patch)
    config, params = trained(data, seed=0)
    if fault is not one_head_for_all:
      patch.undo()  # a fault of training alone
    found = measured(config, params)
  print(f"{fault.__name__}:", *(f"{value:.3f}" for value in found))
  assert not holds(*found)
