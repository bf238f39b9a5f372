"""Windows through the dVAE equal the whole clip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax import build
from nwt_jax.configs import dvae_lwt
from nwt_jax.generate import render


@pytest.fixture(scope="module")
def model():
  config = dvae_lwt.get_config("tiny")
  with config.unlocked():
    config.model.update({"stages": ((1, 4), (1, 4)), "num_episodes": 2})
  module = build.dvae(config.model)
  video, episode = jnp.zeros((1, 2, 8, 8, 3)), jnp.zeros((1, 2), jnp.int32)
  params = jax.jit(module.init, static_argnums=4)(jax.random.key(0), video, episode, jax.random.key(1), "gumbel")
  # biases other than zero, queries of the usual size: padding that leaks or codes that tie would show
  return module, jax.tree.map(lambda p: 2.0 * p + 0.05, params)


def clip(frames):
  return np.random.default_rng(0).integers(0, 256, (1, frames, 8, 8, 3), np.uint8)


@pytest.mark.parametrize("chunk", [3, 4, 11])
def test_chunked_encoding_equals_the_whole(model, chunk):
  module, params = model
  encode = lambda p, v, valid: module.apply(p, v, valid, method="encode")  # noqa: E731
  video = clip(11)
  whole = jax.jit(encode)(params, jnp.asarray(video, jnp.float32) / 127.5 - 1.0, None).argmax(-1)
  codes = render.make_encoder(encode, module.encoder_margins)(params, video, chunk)
  assert codes.dtype == np.uint8 and (codes == whole).mean() == 1.0


@pytest.mark.parametrize("chunk", [3, 4, 11])
def test_chunked_decoding_equals_the_whole(model, chunk):
  module, params = model
  decode = lambda p, c, e, valid: module.apply(p, c, e, valid, method="decode")  # noqa: E731
  codes = np.random.default_rng(1).integers(0, 4, (1, 11, 2, 2, 2), np.uint8)
  episode = np.array([[0] * 5 + [1] * 6], np.int32)
  whole = render.to_pixels(jax.jit(decode)(params, jnp.asarray(codes, jnp.int32), jnp.asarray(episode), None))
  draw = render.make_draw(decode, module.decoder_margins)
  got = render.make_decoder(draw, module.decoder_margins)(params, codes, episode, chunk)
  # a decoder that forgets the frame before, or the frames after, would be seen
  for part, frame in ((np.s_[:, 3:], np.s_[:, 0]), (np.s_[:, :4], np.s_[:, 3])):
    cut = jax.jit(decode)(params, jnp.asarray(codes[part], jnp.int32), jnp.asarray(episode[part]), None)
    assert np.abs(np.asarray(render.to_pixels(cut))[frame].astype(int) - np.asarray(whole)[:, 3].astype(int)).max() > 1
  assert got.shape == whole.shape
  assert np.abs(got.astype(int) - np.asarray(whole).astype(int)).max() <= 1  # a value on the edge of rounding


def test_sampled_codes_do_not_depend_on_the_chunk_and_follow_the_key(model):
  module, params = model
  encode = render.make_encoder(lambda p, v, valid: module.apply(p, v, valid, method="encode"), module.encoder_margins)
  video = clip(9)
  first, second = (encode(params, video, chunk, jax.random.key(0)) for chunk in (3, 9))
  np.testing.assert_array_equal(first, second)
  assert (encode(params, video, 9, jax.random.key(1)) != first).any()


def test_a_window_is_padded_where_the_clip_ends():
  part, valid = render.window(np.arange(1, 6)[None], 3, 4, (1, 2))
  np.testing.assert_array_equal(part, [[3, 4, 5, 0, 0, 0, 0]])
  np.testing.assert_array_equal(valid, [[1, 1, 1, 0, 0, 0, 0]])
  part, valid = render.window(np.arange(1, 6)[None], 0, 2, (2, 1))
  np.testing.assert_array_equal(part, [[0, 0, 1, 2, 3]])


def test_pixels_round_trip():
  values = np.tile(np.arange(256, dtype=np.uint8)[None, None, None, :, None], (1, 1, 1, 1, 3))
  np.testing.assert_array_equal(render.to_pixels(jnp.asarray(values, jnp.float32) / 127.5 - 1.0), values)
