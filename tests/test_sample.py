"""The sampling program: a video comes out, the same seed gives the same file, bad input gives one line and no file."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from nwt_jax.io import video


@pytest.fixture
def speech(tmp_path):
  """A WAV of 0.5 s in stereo at 44.1 kHz."""
  path = tmp_path / "speech.wav"
  soundfile.write(path, np.random.default_rng(0).normal(size=(22_050, 2)) * 0.1, 44_100)
  return path


def test_same_seed_same_file(start, tiny_release, speech, tmp_path):
  hashes = []
  for name in ("one.mp4", "two.mp4"):
    options = ["--config=configs/mar.py", f"--checkpoint={tiny_release}", f"--audio={speech}", "--episode=bob,cy@0.3"]
    done = start("sample", *options, "--seed=5", "--style=1=+1.5", f"--output={tmp_path / name}")
    assert done.returncode == 0, done.stderr
    assert f"{name}: 15 frames, 0.5 s of video" in done.stdout
    assert "arning" not in done.stderr
    hashes.append(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
  assert hashes[0] == hashes[1]
  assert video.read_video(tmp_path / "one.mp4").shape == (15, 32, 24, 3)
  assert b"nwt_jax" in (tmp_path / "one.mp4").read_bytes()


EARLY = [  # answered before jax is imported
  (["--audio={missing}"], "does not exist"),
  (["--audio={empty}"], "is empty"),
  (["--audio={text}"], "text.wav"),
  (["--audio={nan}"], "NaN"),
  (["--epsiode=ann"], "did you mean --episode?"),
  (["--config.sample.temprature=1"], "did you mean --config.sample.temperature?"),
  (["--config=configs/dvae_lwt.py"], "takes configs/mar.py or configs/far.py"),
  (["--seed=-1"], "--seed=-1"),
  (["--output={folder}/sound.wav"], "give the name of an .mp4 file"),
  (["--episode=dan"], "unknown episode 'dan'; choose from ann, bob, cy"),
  (["--style=1,2,3"], "style has 3 numbers, this model wants 4"),
  (["--style_from={missing}"], "does not exist"),
  (["--checkpoint={far}"], "has no mar model (it holds dvae, far)"),
  (["--checkpoint={other}"], "another dVAE"),
]


def refuse(refused, tiny_release, speech, folder, arguments, wanted, without_jax):
  files = {name: folder / f"{name}.wav" for name in ("missing", "empty", "text", "nan")} | {"folder": folder}
  files["empty"].touch()
  files["text"].write_text("this is no sound\n")
  soundfile.write(files["nan"], np.full(1000, np.nan), 24_000, subtype="FLOAT")
  for name in ("far", "other"):
    files[name] = folder / name
    shutil.copytree(tiny_release, files[name])
  (files["far"] / "mar.json").unlink()
  card = json.loads((files["other"] / "mar.json").read_text())
  (files["other"] / "mar.json").write_text(json.dumps({**card, "dvae_sha256": "0" * 64}))
  given = {"config": "configs/mar.py", "checkpoint": tiny_release, "audio": speech, "output": folder / "out.mp4"}
  defaults = [f"--{name}={value}" for name, value in given.items()]
  message = refused("sample", *defaults, *(a.format(**files) for a in arguments), **without_jax)
  assert wanted in message
  assert not list(folder.rglob("*.mp4"))


@pytest.mark.parametrize("arguments, wanted", EARLY)
def test_bad_input_is_refused_at_once(refused, tiny_release, speech, tmp_path, arguments, wanted, without_jax):
  refuse(refused, tiny_release, speech, tmp_path, arguments, wanted, without_jax)


def test_help(start):
  done = start("sample", "--help")
  assert done.returncode == 0 and "--style_from" in done.stdout and done.stderr == ""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_recording(tiny_release, tmp_path):
  """Peak memory for ten minutes is that for one minute, but for pages of the sound's file (58 MB at the end)."""
  code = (
    "import sys, resource; from nwt_jax import cli, sample; sample.define_flags()\n"
    "try: cli.run(sample.main)\n"
    "finally: print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
  )
  peaks = []
  for minutes in (1.1, 10):
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 44_100, 2) as file:
      for _ in range(round(minutes * 60)):
        file.write(np.random.default_rng(0).normal(size=(44_100, 2)) * 0.1)
    options = [f"--checkpoint={tiny_release}", f"--audio={tmp_path}/long.wav", f"--output={tmp_path}/out.mp4"]
    command = [sys.executable, "-c", code, "--config=configs/far.py", *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "JAX_NUM_CPU_DEVICES": "1"})
    assert done.returncode == 0, done.stderr
    peaks.append(int(done.stdout.split("peak ")[1]))
  assert peaks[1] < peaks[0] + 100, f"peak memory {peaks} MB for 1.1 and 10 minutes"
