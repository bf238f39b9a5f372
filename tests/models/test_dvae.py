"""The generator: full-size shapes and counts (never allocated), and behaviour at a tiny size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax import build
from nwt_jax.configs import dvae_lwt


def count(tree) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def abstract_init(model, frames, height, width):
  video = jax.ShapeDtypeStruct((1, frames, height, width, 3), jnp.float32)
  episode = jax.ShapeDtypeStruct((1, frames), jnp.int32)
  return jax.eval_shape(lambda v, e: model.init(jax.random.key(0), v, e, jax.random.key(1), "gumbel"), video, episode)


def test_full_size_parameter_counts():
  params = abstract_init(build.dvae(dvae_lwt.get_config().model), 2, 256, 224)["params"]
  assert count(params["encoder"]) == 16_663_392
  assert count(params["memcodes"]) == 2_632_704
  assert count(params["decoder"]) == 22_093_699
  assert count(params) == 41_403_555  # Table 4 read with n convolutions a "Res n x" and a 64-wide episode embedding


@pytest.mark.parametrize("variant, grid", [("", (16, 14, 8)), ("mem8", (8, 7, 16))])
def test_full_size_shapes(variant, grid):
  model = build.dvae(dvae_lwt.get_config(variant).model)
  params = abstract_init(model, 2, 256, 224)
  video = jax.ShapeDtypeStruct((1, 30, 256, 224, 3), jnp.float32)
  logits = jax.eval_shape(lambda p, v: model.apply(p, v, method="encode"), params, video)
  assert logits.shape == (1, 30, *grid, 8)
  codes = jax.ShapeDtypeStruct(logits.shape[:-1], jnp.int32)
  episode = jax.ShapeDtypeStruct((1, 30), jnp.int32)
  recon = jax.eval_shape(lambda p, c, e: model.apply(p, c, e, method="decode"), params, codes, episode)
  assert recon.shape == video.shape


def test_blocks_of_pixels_keep_the_frame_whole():
  """The shipped size works on 2 x 2 blocks of pixels: one halving fewer, the same grid, the same frames."""
  model = build.dvae(dvae_lwt.get_config("demo").model)
  assert model.patch == 2 and model.downsampling == 8
  params = abstract_init(model, 2, 64, 56)
  video = jax.ShapeDtypeStruct((1, 4, 64, 56, 3), jnp.float32)
  logits = jax.eval_shape(lambda p, v: model.apply(p, v, method="encode"), params, video)
  assert logits.shape == (1, 4, 8, 7, 8, 8)
  codes, episode = jax.ShapeDtypeStruct((1, 4, 8, 7, 8), jnp.int32), jax.ShapeDtypeStruct((1, 4), jnp.int32)
  recon = jax.eval_shape(lambda p, c, e: model.apply(p, c, e, method="decode"), params, codes, episode)
  assert recon.shape == video.shape
  with pytest.raises(ValueError, match="do not divide by 8"):
    jax.eval_shape(lambda p, v: model.apply(p, v, method="encode"), params, jnp.zeros((1, 2, 64, 60, 3)))


def test_blocks_of_pixels_stay_where_they_are():
  """What lies low and right in the frame does so in the grid, and back."""
  config = dvae_lwt.get_config("tiny")
  config.model.update({"patch": 2, "stages": ((1, 8), (1, 8)), "temporal": ((1, 8),)})
  model, key = build.dvae(config.model), jax.random.key(0)
  video, episode = jax.random.normal(key, (1, 1, 64, 48, 3)), jnp.zeros((1, 1), jnp.int32)
  params = jax.jit(lambda: model.init(key, video, episode, key, "gumbel"))()
  encode = jax.jit(lambda v: model.apply(params, v, method="encode"))
  moved = jnp.abs(encode(video) - encode(video.at[:, :, 40:48, 32:40].add(1.0))).max(axis=(0, 1, 4, 5)) > 0
  assert moved.shape == (8, 6) and moved[5, 4] and not moved[0].any()
  codes = jnp.zeros((1, 1, 8, 6, 2), jnp.int32)
  decode = jax.jit(lambda c: model.apply(params, c, episode, method="decode"))
  drawn = jnp.abs(decode(codes) - decode(codes.at[:, :, -1, -1].set(1))).max(axis=(0, 1, 4)) > 0
  assert drawn[-8:, -8:].all() and not drawn[:16].any()


def test_look_ahead_of_the_full_model():
  model = build.dvae(dvae_lwt.get_config().model)
  assert model.encoder_margins == (1, 4) and model.decoder_margins == (1, 4)


@pytest.fixture(scope="module")
def tiny():
  config = dvae_lwt.get_config("tiny")
  with config.unlocked():
    config.model.num_episodes = 3
  model = build.dvae(config.model)
  video = jax.random.uniform(jax.random.key(0), (1, 4, 16, 8, 3), minval=-1.0)
  episode = jnp.zeros((1, 4), jnp.int32)
  return (
    model,
    jax.jit(model.init, static_argnums=4)(jax.random.key(1), video, episode, jax.random.key(2), "gumbel"),
    video,
  )


def test_decoding_the_argmax_codes_is_the_argmax_reconstruction(tiny):
  model, params, video = tiny
  episode = jnp.ones((1, 4), jnp.int32)
  recon, logits = model.apply(params, video, episode, None, "argmax")
  np.testing.assert_allclose(model.apply(params, video, method="encode"), logits, atol=1e-6)
  np.testing.assert_allclose(model.apply(params, logits.argmax(-1), episode, method="decode"), recon, atol=1e-6)
  assert jnp.all(jnp.abs(recon) <= 1.0)


def test_an_unknown_episode_takes_the_mean_embedding(tiny):
  model, params, video = tiny
  codes = model.apply(params, video, method="encode").argmax(-1)
  unknown = model.apply(params, codes, jnp.full((1, 4), -1), method="decode")
  tied = jax.tree.map(lambda x: x, params)
  tied["params"]["episodes"] = jnp.tile(params["params"]["episodes"].mean(axis=0, keepdims=True), (3, 1))
  np.testing.assert_allclose(unknown, model.apply(tied, codes, jnp.full((1, 4), 2), method="decode"), atol=1e-6)
  assert jnp.abs(unknown - model.apply(params, codes, jnp.zeros((1, 4), jnp.int32), method="decode")).max() > 1e-4


def test_the_encoder_learns_through_the_samples(tiny):
  model, params, video = tiny
  episode = jnp.zeros((1, 4), jnp.int32)
  loss = lambda p: jnp.mean(jnp.abs(model.apply(p, video, episode, jax.random.key(0), "gumbel")[0] - video))  # noqa: E731
  grads = jax.grad(loss)(params)["params"]
  assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads["encoder"]))
  assert jnp.abs(grads["memcodes"]["codebook"]).max() > 0


def test_frames_that_do_not_divide_are_refused(tiny):
  model, params, _ = tiny
  with pytest.raises(ValueError, match="do not divide by 8"):
    model.apply(params, jnp.zeros((1, 1, 12, 8, 3)), method="encode")
