"""Recordings that tests of preparation share."""

import pytest

from tests import media


@pytest.fixture(scope="module")
def good(tmp_path_factory):
  """A good clip of two seconds."""
  return media.clip(tmp_path_factory.mktemp("good") / "good.mp4", seed=1)
