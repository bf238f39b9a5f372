"""Conditioning of a prior: margins in frames, chunks against whole clips, style and episode."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.mar import get_config
from nwt_jax import build
from nwt_jax.models.conditioning import CodeEmbedding, ConcatLinear, EpisodeEmbedding
from tests import priors


@pytest.mark.parametrize(
  ("family", "arg", "margins"),
  [("far", "", (23, 23)), ("mar", "", (29, 29)), ("far", "causal", (46, 0)), ("mar", "causal", (58, 0))],
)
def test_full_size_looks_so_many_frames_back_and_ahead(family, arg, margins):
  assert priors.model(family, arg).cond_margins == margins


@pytest.mark.parametrize("family", ["far", "mar"])
def test_causal_audio_takes_no_parameters_more_or_less(family):
  causal, usual = (priors.shapes(priors.model(family, arg)) for arg in ("causal", ""))
  assert causal == usual


def test_a_card_that_is_silent_about_causal_audio_means_the_papers():
  fields = get_config("tiny").model.to_dict()
  assert fields.pop("causal_audio") is False
  assert build.prior("mar", fields) == priors.model("mar") != priors.model("mar", "tiny,causal")


@pytest.mark.parametrize("family", ["far", "mar"])
@pytest.mark.parametrize("arg", ["tiny", "tiny,causal"])
@pytest.mark.parametrize("kernel", [4, 6])
def test_condition_depends_on_exactly_the_stated_frames(family, arg, kernel):
  module = priors.model(family, arg)
  module = module.clone(audio_rows=((kernel, 1, 8), *module.audio_rows[1:]))
  frames, middle = 23, 14
  params, inputs = priors.parameters(module), priors.batch(module, frames, 1)

  def at_middle(mel):
    cond = module.apply(params, mel[None], inputs["style"], inputs["episode"], method="condition")
    return jnp.sum(jnp.abs(cond[0][0, middle]))

  by_mel = np.abs(priors.jit(jax.grad(at_middle))(inputs["mel"][0])).sum(1)
  seen = np.flatnonzero(by_mel.reshape(frames, module.mel_stride).sum(1))
  assert (middle - seen[0], seen[-1] - middle) == (module.look_back, module.look_ahead)
  assert (by_mel[4 * (seen[0] + 1) : 4 * seen[-1]] > 0).all()  # no mel frame is skipped


@pytest.mark.parametrize("family", ["far", "mar"])
def test_with_causal_audio_no_frame_depends_on_a_later_one(family):
  """Whole clips, as in training: the sound of later frames has no influence on any frame's conditioning."""
  module = priors.model(family, "tiny,causal")
  params, inputs = priors.parameters(module), priors.batch(module, 9, 1)

  def conditioning(mel):
    cond = module.apply(params, mel[None], inputs["style"], inputs["episode"], method="condition")
    return jnp.stack([jnp.sum(jnp.sin(c[0].reshape(9, -1)), axis=1) for c in cond], axis=1)

  by_row = priors.influence(conditioning, np.asarray(inputs["mel"][0]))  # [t s]
  later = np.arange(by_row.shape[1])[None] // module.mel_stride > np.arange(9)[:, None]
  assert not by_row[later].any()
  assert (by_row[np.arange(9), np.arange(9) * module.mel_stride + module.mel_stride - 1] > 0).all()


@pytest.mark.parametrize("family", ["far", "mar"])
@pytest.mark.parametrize("arg", ["tiny", "tiny,causal"])
def test_padded_windows_with_their_margins_equal_the_whole_clip(family, arg):
  module = priors.model(family, arg)
  frames, chunk = 11, 4
  params, inputs = priors.parameters(module), priors.batch(module, frames, 1)
  apply = priors.jit(functools.partial(module.apply, method="condition"))
  whole = apply(params, *priors.conditions(inputs))
  back, width, step = module.look_back, module.look_back + chunk + module.look_ahead, module.mel_stride
  for start in range(0, frames, chunk):
    around = np.arange(start - back, start - back + width)
    valid = ((around >= 0) & (around < frames)).astype(np.float32)[None]
    at = np.clip(around, 0, frames - 1)
    mel = inputs["mel"].reshape(1, frames, step, 80)[:, at].reshape(1, -1, 80)  # what stands outside must not matter
    window = apply(params, mel, inputs["style"], inputs["episode"][:, at], valid)
    count = min(chunk, frames - start)
    for part, all_ in zip(window, whole, strict=True):
      np.testing.assert_allclose(part[:, back : back + count], all_[:, start : start + count], rtol=2e-5, atol=2e-5)


def test_concat_linear_projects_the_concatenation():
  draw = np.random.default_rng(0)
  module = ConcatLinear((3, 2, 4, 5), 6)
  variables = {"params": {"kernel": draw.standard_normal((14, 6)), "bias": draw.standard_normal(6)}}
  variables = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), variables)
  x, audio = (jnp.asarray(draw.standard_normal((2, 7, 3, 2, d)), jnp.float32) for d in (3, 2))
  style = jnp.asarray(draw.standard_normal((2, 1, 3, 2, 4)), jnp.float32)
  episode = jnp.asarray(draw.standard_normal((2, 7, 5)), jnp.float32)
  condition = module.apply(variables, audio, style, episode, method="condition")
  style, episode = (
    jnp.broadcast_to(style, (2, 7, 3, 2, 4)),
    jnp.broadcast_to(episode[:, :, None, None], (2, 7, 3, 2, 5)),
  )
  wanted = np.concatenate([x, audio, style, episode], -1) @ np.asarray(variables["params"]["kernel"])
  wanted += np.asarray(variables["params"]["bias"])
  np.testing.assert_allclose(module.apply(variables, x, condition), wanted, rtol=1e-5, atol=1e-5)


def test_audio_starts_silent_and_can_be_learned():
  draw = np.random.default_rng(0)
  shapes = ((1, 1, 1, 1, 3), (1, 1, 1, 1, 2), (1, 1, 1, 1, 4), (1, 1, 5))
  x, audio, style, episode = (jnp.asarray(draw.standard_normal(shape), jnp.float32) for shape in shapes)
  module = ConcatLinear((3, 2, 4, 5), 6)

  def project(variables, audio):
    return module.apply(variables, x, module.apply(variables, audio, style, episode, method="condition"))

  variables = module.init(jax.random.key(0), x, jnp.zeros((1, 1, 1, 1, 6)))
  np.testing.assert_array_equal(project(variables, audio), project(variables, 0 * audio))
  slopes = jax.grad(lambda v: project(v, audio).sum())(variables)["params"]["kernel"]
  starts_at_zero = np.all(np.asarray(variables["params"]["kernel"]) == 0, axis=1)
  np.testing.assert_array_equal(np.flatnonzero(starts_at_zero), [3, 4])
  assert np.all(slopes[3:5] != 0)


def test_episode_minus_one_is_the_mean_of_the_table():
  table = jnp.asarray(np.random.default_rng(0).standard_normal((5, 3)), jnp.float32)
  embedded = EpisodeEmbedding(5, 3).apply({"params": {"table": table}}, jnp.array([[2, -1, 0]]))
  np.testing.assert_allclose(embedded[0], [table[2], table.mean(0), table[0]], rtol=1e-6)


def test_empty_codes_embed_as_zeros_or_as_a_row_of_their_own():
  codes = jnp.array([[0, 3, 2]])  # 3 is "empty" among 3 codes
  table = jnp.arange(1.0, 9).reshape(4, 2)
  zeros = CodeEmbedding(3, 2, False).apply({"params": {"table": table[:3]}}, codes)
  learned = CodeEmbedding(3, 2, True).apply({"params": {"table": table}}, codes)
  np.testing.assert_array_equal(zeros, [[1, 2, 0, 0, 5, 6]])
  np.testing.assert_array_equal(learned, [[1, 2, 7, 8, 5, 6]])


@pytest.mark.parametrize("family", ["far", "mar"])
def test_style_posterior_of_a_padded_clip_equals_the_clip_alone(family):
  module = priors.model(family)
  params, codes = priors.parameters(module), priors.batch(module, 9)["codes"]
  posterior = priors.jit(functools.partial(module.apply, method="style_posterior"))
  valid = np.zeros((2, 9), np.float32)
  valid[:, 2:7] = 1
  for padded, alone in zip(posterior(params, codes, valid), posterior(params, codes[:, 2:7]), strict=True):
    np.testing.assert_allclose(padded, alone, rtol=2e-5, atol=2e-5)


def test_the_posteriors_log_std_stays_at_or_above_minus_four():
  module = priors.model("mar")
  params, codes = priors.parameters(module), priors.batch(module, 4)["codes"]
  params["params"]["style_encoder"]["posterior"]["bias"] = jnp.full(2 * module.style_dim, -50.0)
  mean, log_std = priors.jit(functools.partial(module.apply, method="style_posterior"))(params, codes)
  assert (np.asarray(log_std) == -4).all() and (np.asarray(mean) < -30).all()
