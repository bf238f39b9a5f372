"""Edits of one head in video: only the neighbourhood of the place changes."""

import numpy as np
import pytest

from nwt_jax.analysis.video import sheet
from nwt_jax.api import NWT


@pytest.fixture(scope="module")
def model(tiny_release):
  return NWT.from_dvae(tiny_release)  # no prior is needed


def test_a_sheet_has_a_row_a_head_and_the_code_that_is_there_changes_nothing(model):
  video = np.random.default_rng(0).integers(0, 256, (5, model.height, model.width, 3), np.uint8)
  heads, codes = model.dvae.num_heads, model.dvae.num_codes
  picture = sheet(model, video, None, 2, (1, 1), 1)
  assert picture.shape == (heads * (model.height + 1), (2 + codes) * (model.width + 1), 3)
  cut = lambda r, c: picture[r * (model.height + 1) :, c * (model.width + 1) :][: model.height, : model.width]
  cells = [[cut(r, c) for c in range(2 + codes)] for r in range(heads)]
  here = model.encode(video)[2, 1, 1]
  for head, row in enumerate(cells):
    np.testing.assert_array_equal(row[0], video[2])
    different = [code for code in range(codes) if not np.array_equal(row[2 + code], row[1])]
    if np.all(model.encode(video)[:, 1, 1, head] == here[head]):
      assert here[head] not in different
    assert different, "no code of this head changes the picture"


def test_the_program_draws_the_shipped_talker(start, refused, tmp_path):
  done = start("analysis.video", f"--output={tmp_path}", "--frame=40")
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "edits_one.png").stat().st_size > 5_000 and (tmp_path / "edits_neighbours.png").exists()
  assert "--frame=9999 of a video with 120 frames" in refused("analysis.video", f"--output={tmp_path}", "--frame=9999")
  assert "outside the 8 x 7 Memcodes" in refused("analysis.video", f"--output={tmp_path}", "--row=8")
