"""The Memcode layer learns: A.2's ELBO model, small, on drawn numerals; and a broken layer is seen not to."""

import jax
import jax.numpy as jnp
import pytest

from configs import dvae_mnist
from nwt_jax import build
from nwt_jax.analysis import hamming
from nwt_jax.generate.render import from_pixels
from nwt_jax.models import memcodes
from nwt_jax.train import digits
from tests.digits import folder

STEPS = 200


def trained(data, seed):
  config = dvae_mnist.get_config("loss=elbo")
  with config.unlocked():
    config.data.update({"path": str(data), "batch_size": 64, "held_out": 500, "seed": seed})
    config.model.update({"stages": ((0, 16), (0, 32), (0, 64)), "temporal": ((1, 64),), "attention_dim": 11 * 8})
    config.train.seed = seed
  stage = digits.make_stage(config)
  step, state = jax.jit(stage.step, donate_argnums=0), stage.state
  for _, batch in zip(range(STEPS), stage.batches(0), strict=False):
    state, _ = step(state, batch)
  return config, state.gen


def judged(config, params):
  """Accuracy of the nearest Memcode; error of sampled reconstructions in units of the mean picture's."""
  train, held_out = digits.split(config)
  encode = digits.make_encoder(config)
  codes, base = (encode(params, part.pictures) for part in (held_out, train))
  accuracy, _ = hamming.nearest_label_accuracy(codes, held_out.labels, base, train.labels)
  video = from_pixels(held_out.pictures)
  episode = jnp.zeros(video.shape[:2], jnp.int32)
  recon, _ = build.dvae(config.model).apply(params, video, episode, jax.random.key(0), "gumbel")
  mean = from_pixels(train.pictures).mean(axis=0)
  return accuracy, float(jnp.mean((recon - video) ** 2) / jnp.mean((mean - video) ** 2))


def holds(accuracy, error):
  """What a whole layer reaches here, and none of the broken ones."""
  return accuracy > 0.5 and error < 0.8


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  return folder(tmp_path_factory.mktemp("mnist"), train=4_000)


def test_the_layer_learns(data):
  assert holds(*judged(*trained(data, seed=0)))


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
    if fault is one_head_for_all:  # the others are faults of training alone
      found = judged(config, params)
  if fault is not one_head_for_all:
    found = judged(config, params)
  print(f"{fault.__name__}: accuracy {found[0]:.3f}, error {found[1]:.3f}")
  assert not holds(*found)
