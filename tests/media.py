"""Recordings for the tests of preparation, made by ffmpeg: pictures that move, sound with syllables, and defects."""

import subprocess
from pathlib import Path

import numpy as np

from nwt_jax.io import audio, ffmpeg

FAST = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-g", "12", "-bf", "0", "-c:a", "aac"]


def pictures(seed, count, height=72, width=96, rate=25.0):
  """Smooth colours and a bright disc that wanders; every seed looks different. Returns: uint8 [t h w 3]."""
  random = np.random.default_rng(seed)
  rows, columns = np.mgrid[:height, :width] / height
  time = np.arange(count)[:, None, None] / rate
  frames = np.empty((count, height, width, 3), np.uint8)
  for channel in range(3):
    a, b, c, d = random.uniform(1, 4, 4)
    frames[..., channel] = 110 + 50 * np.sin(a * rows + b * columns + c * time + d)
  x = width / height * (0.5 + 0.3 * np.sin(2.1 * time + seed))
  y = 0.5 + 0.3 * np.cos(1.7 * time + seed)
  frames[(rows - y) ** 2 + (columns - x) ** 2 < 0.02] = 230
  return frames


def speech(seed, seconds, rate=24_000):
  """Noise in bands that change with each syllable. Returns: float32 [samples]."""
  random = np.random.default_rng(seed)
  parts = []
  while sum(map(len, parts)) < seconds * rate:
    length = int(rate * random.uniform(0.08, 0.25))
    noise = np.fft.rfft(random.normal(size=length))
    hertz = np.fft.rfftfreq(length, 1 / rate)
    shape = sum(np.exp(-(((hertz - random.uniform(200, 3500)) / 200) ** 2)) for _ in range(3)) + 1e-3
    tone = np.fft.irfft(noise * shape, length)
    parts.append(0.25 * np.hanning(length) * tone / np.abs(tone).max())
  return np.concatenate(parts)[: int(seconds * rate)].astype(np.float32)


def record(path, frames, sound, rate="25", encode=(), output=(), extra=()):
  """Encodes frames and sound (None: neither stream of it). encode: codecs; output: other options; extra: inputs."""
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  command = [ffmpeg.executable(), "-v", "error", "-y"]
  if frames is not None:
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-framerate", rate, "-i", "pipe:0"]
  if sound is not None:
    wav = path.with_name(path.name + ".wav")
    audio.write_wav(wav, sound)
    command += ["-i", wav]
  pixels = [] if "-pix_fmt" in encode or frames is None else ["-pix_fmt", "yuv420p"]
  command += [*extra, *(encode or FAST), *pixels, *output, "-f" if path.suffix == ".bin" else "-y"]
  command += ["mp4", path] if path.suffix == ".bin" else [path]
  subprocess.run(list(map(str, command)), input=None if frames is None else frames.tobytes(), check=True)
  if sound is not None:
    wav.unlink()
  return path


def clip(path, seed, seconds=2.0, rate=25.0, **options):
  """A good clip of its own."""
  frames = pictures(seed, round(seconds * rate), rate=rate)
  return record(path, frames, speech(seed, seconds), rate=f"{rate:g}", **options)


def remux(source, target, *arguments):
  """Runs ffmpeg from one file to another."""
  return ffmpeg_to(target, "-i", source, *arguments)


def ffmpeg_to(target, *arguments):
  """Runs ffmpeg for a file. Returns: the file."""
  command = [ffmpeg.executable(), "-v", "error", "-y", *arguments, target]
  subprocess.run(list(map(str, command)), check=True)
  return target


def flash_and_beep(path, rate, encode=(), output=(), at=(0.8, 1.6, 2.4), seconds=3.2):
  """A white frame and a beep of a frame's length, at the same moments."""
  count = round(seconds * rate)
  frames = np.full((count, 64, 64, 3), 40, np.uint8)
  frames[:, 16:48, 16:48] = pictures(3, count, 32, 32, rate)
  sound = 0.002 * np.random.default_rng(0).normal(size=int(24_000 * seconds)).astype(np.float32)
  for moment in at:
    first = round(moment * rate)
    frames[first : first + 2] = 255
    start = round(first / rate * 24_000)
    sound[start : start + 1600] = 0.8 * np.sin(np.arange(1600) * 0.4)
  return record(path, frames, sound, rate=f"{rate:.6f}", encode=encode, output=output)
