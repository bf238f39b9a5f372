"""The demo's three files, from models of random weights and a short clip."""

import json
import re

import numpy as np
import pytest

from nwt_jax import demo
from nwt_jax.io import audio, video


@pytest.fixture
def clip(tmp_path):
  """A folder like the shipped one: sound, true frames, truth."""
  folder = tmp_path / "clip <b>"
  folder.mkdir()
  noise = np.random.default_rng(0)
  audio.write_wav(folder / "demo.wav", noise.normal(size=40 * 800) * 0.1)
  video.write_video(folder / "demo.mp4", noise.integers(0, 255, (40, 32, 24, 3), np.uint8))
  truth = {"text": "a < b & c", "episode": "bob", "opening": list(np.sin(np.arange(40.0)))}
  (folder / "demo.json").write_text(json.dumps(truth))
  return folder


def test_demo_writes_video_codes_and_report(tiny_release, clip, tmp_path):
  out = tmp_path / "out"
  facts = demo.make(tiny_release, clip, out)
  assert sorted(p.name for p in out.iterdir()) == ["codes.npz", "demo.mp4", "report.html"]
  assert facts["frames"] == 40 and facts["episode"] == "bob" and facts["other"] == "ann"
  assert np.load(out / "codes.npz")["codes"].shape == (40, 4, 3, 2)
  assert video.read_video(out / "demo.mp4").shape == (40, 32, 24, 3)
  page = (out / "report.html").read_text()
  assert "a &lt; b &amp; c" in page and "<polyline" in page and page.count("data:video/mp4;base64,") == 2
  assert not re.search(r"""(src|href)=["'](?!data:)|url\(""", page), "the report must not fetch anything"


def test_shipped_clip_is_whole():
  truth = json.loads((demo.SHIPPED / "demo.json").read_text())
  frames = video.read_video(demo.SHIPPED / "demo.mp4")
  sound = audio.read_audio(demo.SHIPPED / "demo.wav")
  assert len(frames) == len(truth["opening"]) == -(-len(sound) // 800)
  assert truth["episode"] and truth["text"] and truth["phonemes"]


def test_a_mouth_that_does_not_move_is_unknown_to_the_report():
  assert demo.lips({"correlation": 0.5, "lag": 1}) == "correlation 0.50, best at lag 1"
  assert "unknown" in demo.lips({"correlation": None, "lag": None})
