"""Critics: Table 4b at full size, and what they return."""

import jax
import jax.numpy as jnp
import pytest

from nwt_jax import build
from nwt_jax.configs import dvae_lwt
from nwt_jax.models.critics import receptive_field


def test_full_size_parameter_counts_and_fields():
  critics = build.critics(dvae_lwt.get_config().critics, 0)
  video = jax.ShapeDtypeStruct((1, 2, 256, 224, 3), jnp.float32)
  params = jax.eval_shape(lambda v: critics.init(jax.random.key(0), v), video)["params"]
  counts = [sum(leaf.size for leaf in jax.tree.leaves(params[f"critic{i}"])) for i in range(3)]
  assert counts == [5_311_585, 1_137_185, 4_331_681]
  assert [receptive_field(layers) for layers in critics.critics] == [(35, 6), (31, 1), (127, 1)]


def test_scores_are_one_a_clip_and_maps_leave_the_output_out():
  config = dvae_lwt.get_config("tiny")
  critics = build.critics(config.critics, config.num_classes)
  video = jnp.ones((2, 6, 32, 16, 3))
  scores, features, _ = jax.eval_shape(lambda v: critics.init_with_output(jax.random.key(0), v)[0], video)
  assert [score.shape for score in scores] == [(2,)] * 3
  assert [len(maps) for maps in features] == [len(layers) for layers in config.critics]
  assert features[1][1].shape == (2, 6, 16, 8, 16)


@pytest.mark.parametrize("index, sees_time", [(0, True), (1, False)])
def test_only_the_3d_critic_sees_neighbouring_frames(index, sees_time):
  critics = build.critics((dvae_lwt.get_config("tiny").critics[index],), 0)
  video = jax.random.normal(jax.random.key(0), (1, 6, 16, 16, 3))
  params = critics.init(jax.random.key(1), video)
  frame = lambda v: critics.apply(params, v)[1][0][-1][0, 2].sum()  # noqa: E731
  reached = jnp.abs(jax.grad(frame)(video)).sum(axis=(0, 2, 3, 4)) > 0
  assert bool(reached[3]) == sees_time and bool(reached[2])
