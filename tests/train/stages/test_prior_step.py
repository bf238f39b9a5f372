"""The prior's update: what its history is made of, and that its targets stay true."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax.data.tokens import Tokens, write_tokens
from nwt_jax.objectives.prior import prior_loss
from nwt_jax.train.stages.prior_history import corrupt_history, drop_first_frame
from nwt_jax.train.stages.prior_step import make_prior_loss
from tests import priors


def test_errors_are_guesses_that_last_to_a_frame_in_a_share_of_the_clips():
  draw = np.random.default_rng(0)
  clips, frames = 400, 12
  codes = jnp.asarray(draw.integers(0, 3, (clips, frames, 2, 2, 2)), jnp.int32)
  guesses = jnp.zeros((*codes.shape, 8)).at[..., 7].set(1e4)  # symbol 7, which no clip has
  for share in (0.0, 0.4, 1.0):
    got = np.asarray(corrupt_history(codes, guesses, jax.random.key(1), share))
    wrong = got == 7
    np.testing.assert_array_equal(got[~wrong], np.asarray(codes)[~wrong])
    changed = wrong.any(axis=(1, 2, 3, 4))
    assert abs(changed.mean() - share) < 0.15  # a clip whose rate is near 0 may have no error
    assert not (wrong[:, 1:] & ~wrong[:, :-1]).any()  # errors begin with the clip and may end once
    if share:
      to_the_end = wrong[changed][:, -1].any(axis=(1, 2, 3))
      assert 0.2 < to_the_end.mean() < 0.5
      assert 0.3 < wrong[changed][:, 0].mean() < 0.7


def test_errors_are_drawn_once_a_clip_from_the_guesses():
  codes = jnp.full((3_000, 5, 1, 1, 1), 3)
  guesses = jnp.log(jnp.broadcast_to(jnp.array([0.7, 0.3, 0.0, 0.0]), (*codes.shape, 4)))
  got = np.asarray(corrupt_history(codes, guesses, jax.random.key(0), 1.0))[..., 0, 0, 0]
  first = got[:, 0][got[:, 0] < 3]
  assert set(first) == {0, 1} and abs(np.mean(first) - 0.3) < 0.05
  for clip in got:
    assert len(set(clip[clip < 3])) <= 1


def test_the_first_frame_is_hidden_in_a_share_of_the_clips():
  codes = jnp.asarray(np.random.default_rng(0).integers(0, 8, (500, 3, 2, 2, 2)), jnp.int32)
  for share in (0.0, 0.4, 1.0):
    got = np.asarray(drop_first_frame(codes, 8, jax.random.key(1), share))
    np.testing.assert_array_equal(got[:, 1:], codes[:, 1:])
    hidden = (got[:, 0] == 8).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(got[~hidden, 0], np.asarray(codes)[~hidden, 0])
    assert abs(hidden.mean() - share) < 0.07


@pytest.mark.parametrize("family", ["far", "mar"])
def test_a_changed_history_leaves_the_targets_and_the_style(family):
  module = priors.model(family)
  params, inputs = priors.parameters(module), priors.batch(module, 4)
  batch = {**inputs, "episode": inputs["episode"][:, 0]}

  def objective(logits, codes, mean, log_std):
    return prior_loss(logits, codes, mean, log_std, 1.0)[0], {"codes": codes, "mean": mean}

  def slopes(history_corruption, first_frame_dropout):
    loss = make_prior_loss(module, objective, history_corruption, first_frame_dropout)
    return priors.jit(jax.grad(loss, has_aux=True))(params, batch, jax.random.key(2))

  plain, clean = slopes(0.0, 0.0)
  for changed in ((1.0, 0.0), (0.0, 1.0)):
    erring, corrupted = slopes(*changed)
    np.testing.assert_array_equal(corrupted["codes"], inputs["codes"])
    np.testing.assert_allclose(corrupted["mean"], clean["mean"], rtol=1e-5, atol=1e-6)  # the style is of the true clip
    assert any(jax.tree.leaves(jax.tree.map(lambda a, b: not np.allclose(a, b), plain, erring)))


@pytest.mark.parametrize("family", ["far", "mar"])
def test_computing_blocks_again_changes_no_gradient(family):
  module = priors.model(family)
  params, inputs = priors.parameters(module), priors.batch(module, 4)
  batch = {**inputs, "episode": inputs["episode"][:, 0]}

  def gradient(remat):
    loss = make_prior_loss(module.clone(remat=remat), functools.partial(prior_loss, style_kl_weight=1.0), 0.0, 0.0)
    return priors.jit(jax.grad(lambda p: loss(p, batch, jax.random.key(0))[0]))(params)

  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradient(True), gradient(False))


@pytest.mark.parametrize("family", ["far", "mar"])
@pytest.mark.parametrize("arg", ["tiny", "tiny,causal"])
def test_a_training_window_with_margins_hears_what_sampling_hears(family, arg, tmp_path):
  """Its logits are those of the whole clip's forward, where its own history is long enough to say the same."""
  module, frames, length = priors.model(family, arg), 30, 16
  params, inputs = priors.parameters(module), priors.batch(module, frames, 1)
  clip = {"name": "a", "episode": 1, "codes": inputs["codes"][0], "mel": inputs["mel"][0], "truth": None}
  grid = dict(zip(("height", "width", "heads"), (*module.grid, module.num_heads), strict=True))
  facts = {**grid, "codes": module.num_codes, "episodes": ["a", "b"], "dvae_sha256": "0"}
  write_tokens(tmp_path / "tokens", {"train": [clip]}, facts)
  tokens, key = Tokens(tmp_path / "tokens", "train"), jax.random.key(3)
  loss = make_prior_loss(module, lambda *a: (jnp.float32(0), {"logits": a[0], "style": a[2:]}), 0, 0)
  trained, whole = priors.jit(loss), priors.jit(module.apply)

  def gap(start, around, own):
    """The largest difference over the window's frames from `own` on."""
    batch = {name: jnp.asarray(value)[None] for name, value in tokens.window(0, start, length, around).items()}
    _, got = trained(params, batch, key)
    mean, log_std = got["style"]
    style = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
    wanted = whole(params, inputs["codes"], inputs["mel"], style, jnp.ones((1, frames), jnp.int32))
    return np.abs(got["logits"] - wanted[:, start : start + length])[:, own:].max()

  # Frames after which a window's history is all that a prediction sees
  own = module.receptive_field if family == "far" else -(-module.receptive_field // module.positions)
  for start in (0, 1, 7, frames - length):
    assert gap(start, module.cond_margins, own if start else 0) < 1e-4
  if arg == "tiny":  # what a window alone has says less about its end
    assert gap(0, (0, 0), 0) > 1e-2
