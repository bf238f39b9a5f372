"""Small clips and data sets that the data tests share; none of it touches jax."""

import subprocess

import numpy as np
import pytest

from nwt_jax.data import tokens
from nwt_jax.io import audio, ffmpeg
from nwt_jax.prepare import __main__ as prepare

EPISODES = ("red", "green", "blue")


def movie(path, seconds, colour, pitch, rate=25):
  """A video file: one colour, a white column that moves to the right, and a tone."""
  size = 48
  frames = np.empty((round(seconds * rate), size, size, 3), np.uint8)
  frames[:] = colour
  for place, frame in enumerate(frames):
    frame[:, place % size] = 255
  path.parent.mkdir(parents=True, exist_ok=True)
  wav = path.with_suffix(".wav")
  audio.write_wav(wav, 0.3 * np.sin(2 * np.pi * pitch * np.arange(int(24_000 * seconds)) / 24_000))
  command = [ffmpeg.executable(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size}x{size}"]
  command += [
    "-framerate",
    str(rate),
    "-i",
    "pipe:0",
    "-i",
    wav,
    "-c:v",
    "libx264",
    "-crf",
    "10",
    "-pix_fmt",
    "yuv420p",
  ]
  subprocess.run([*command, "-c:a", "aac", path], input=frames.tobytes(), check=True)
  wav.unlink()
  return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
  """Six movies, two of each episode, 0.8 to 1.3 seconds, and clips.csv."""
  root = tmp_path_factory.mktemp("movies")
  rows = ["clip,episode,sentence"]
  for place in range(6):
    colour = [(200, 40, 40), (40, 200, 40), (40, 40, 200)][place % 3]
    movie(root / f"m{place}.mp4", 0.8 + 0.1 * place, colour, 200 + 100 * place)
    rows.append(f"m{place},{EPISODES[place % 3]},word {place}")
  (root / "clips.csv").write_text("\n".join(rows) + "\n")
  return root


@pytest.fixture(scope="session")
def dataset(folder, tmp_path_factory):
  """The movies, prepared as PNG at 32 x 24."""
  output = tmp_path_factory.mktemp("prepared") / "clips"
  prepare.prepare(
    output, pattern=str(folder), episodes=folder / "clips.csv", height=32, width=24, image_format="png", workers=1
  )
  return output


def token_clips(count, frames=12, letter="t"):
  """Made-up clips of codes whose first symbol tells clip and frame."""
  for place in range(count):
    codes = np.random.default_rng(place).integers(0, 16, (frames + place, 4, 3, 2))
    mel = np.arange(4 * len(codes) * 80, dtype=np.float32).reshape(-1, 80) + place
    yield {"name": f"{letter}{place}", "episode": place % 2, "codes": codes, "mel": mel, "truth": {"n": place}}


@pytest.fixture(scope="session")
def token_set(tmp_path_factory):
  """Five tokenized clips to train on, two to test on."""
  output = tmp_path_factory.mktemp("tokens") / "tokens"
  metadata = {"height": 4, "width": 3, "heads": 2, "codes": 16, "episodes": ["a", "b"], "dvae_sha256": "0" * 64}
  splits = {"train": token_clips(5), "validation": [], "test": token_clips(2, letter="u")}
  tokens.write_tokens(output, splits, metadata, counts={"train": 5, "validation": 0, "test": 2})
  return output
