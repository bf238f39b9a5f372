"""Digests of what stays when code is only moved or renamed: samples, prepared data, and the numbers of training.

  python -m benchmarks.behaviour --json=benchmarks/results/behaviour.json
  python -m benchmarks.behaviour --against=benchmarks/results/behaviour.json

The second ends with 1 and a line for each part that differs. Only programs and `nwt_jax.api` are used; with NWT_DATA, a
folder that holds mnist/ and grid_s1/, on digits and real clips too. Rounding depends on the CPU and on jax, so that a
file holds for one machine. Everything is compiled anew, and XLA has one thread.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false", "PYTHONPATH": str(ROOT)}
ENVIRONMENT |= {"NPROC": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "TF_CPP_MIN_LOG_LEVEL": "3"}
PIECES = (1, 479, 20_000, 0, 4_801, 12_345)  # samples of a stream that arrive together, four times over
LEFT_OUT = {"training": ("time", "memory", "speed"), "tokenize": ("clips", "dvae")}  # clips and dvae are paths
LEFT_OUT["real clips"] = ("request", "path", "report.html")  # the first is a digest of paths, the last names them
Parts = Iterable[tuple[str, str]]  # name, digest
digest = lambda data: hashlib.sha256(data).hexdigest()


def start(program: str, *arguments: str) -> None:
  """Runs a program of ours to its end; where it fails, this one ends with 2."""
  command = [sys.executable, "-m", f"nwt_jax.{program}", *arguments]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  if done.returncode:
    print(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}", file=sys.stderr)
    sys.exit(2)


def sampled(chunks: Iterable) -> Parts:
  chunks = list(chunks)
  for part in ("codes", "frames"):
    array = np.concatenate([getattr(chunk, part) for chunk in chunks])
    yield part, digest(f"{array.dtype} {array.shape} ".encode() + array.tobytes())


def prepared(folder: Path, without: tuple[str, ...] = ()) -> Parts:
  """Every file of a data set. Args: without: fields of metadata and manifest, and files, that do not count."""
  for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in without):
    data = path.read_bytes()
    if without and path.name in ("metadata.json", "manifest.jsonl"):
      rows = map(json.loads, data.splitlines() if path.suffix == ".jsonl" else [data])
      data = json.dumps([{key: row[key] for key in sorted(row) if key not in without} for row in rows]).encode()
    yield path.relative_to(folder).as_posix(), digest(data)


def trained(config: str, workdir: Path, data: Path) -> Parts:
  """Three updates: each group of metrics ("loss", "grad_norm") over all steps, and the released weights."""
  options = {"data.path": data, "train.steps": 3, "train.log_every": 1, "train.eval_every": 3, "train.save_every": 3}
  options = [f"--config.{name}={value}" for name, value in options.items()]
  start("main", f"--config=configs/{config}.py:tiny", f"--workdir={workdir}", *options)
  groups = {}
  for row in map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines()):
    for name, value in sorted(row.items()):
      groups.setdefault(name.partition("/")[0], []).append((row["step"], name, value))
  for group in sorted(groups.keys() - set(LEFT_OUT["training"])):
    yield group, digest(json.dumps(groups[group]).encode())
  for path in sorted((workdir / "export").glob("*.safetensors")):
    yield path.name, digest(path.read_bytes())


def parts(folder: Path) -> Iterator[tuple[str, Parts]]:
  """Names what is looked at and its digests, made as they are asked for."""
  import soundfile

  from nwt_jax.api import NWT

  speech = next((ROOT / "nwt_jax").rglob("demo.wav"))
  truth = json.loads(speech.with_suffix(".json").read_text())
  mar, far = (NWT.from_checkpoint(speech.parent, family) for family in ("mar", "far"))
  yield "make demo", sampled(mar.generate(speech, seed=0, episode=truth["episode"]))
  yield "FAR, two episodes", sampled(far.generate(speech, episode=f"{','.join(far.episodes[:2])}@2.0"))
  samples, rate = soundfile.read(speech, dtype="int16")
  stream = mar.stream(2 * rate, chunk_frames=5, seed=1)  # twice as fast as it was said: a rate to be converted
  yield "MAR, stream", sampled(stream.follow(np.split(samples, np.cumsum(4 * PIECES))))
  clips, dvae, tokens = (folder / name for name in ("clips", "dvae", "tokens"))
  start("prepare", "--talker=12", "--height=32", "--width=24", "--workers=1", f"--output={clips}")
  yield "talker", prepared(clips)
  yield "dvae_lwt", trained("dvae_lwt", dvae, clips)
  given = (f"--workdir={tokens}", f"--config.data.path={clips}", f"--config.dvae={dvae}")
  start("main", "--config=configs/tokenize.py:tiny", *given)
  yield "tokenize", prepared(tokens, LEFT_OUT["tokenize"])
  yield "far", trained("far", folder / "far", tokens)
  yield "mar", trained("mar", folder / "mar", tokens)
  data, skip = Path(os.environ.get("NWT_DATA") or folder), [("skipped", "no such folder in NWT_DATA")]
  yield "dvae_mnist", trained("dvae_mnist", folder / "digits", data / "mnist") if (data / "mnist").is_dir() else skip
  if real := (data / "grid_s1").is_dir():  # eight clips, 24 s: enough to look at sound against mouths
    given = (f"--input={data}/grid_s1/clips/bb[ab]*s.mp4", f"--episodes={data}/grid_s1/clips.csv", "--workers=1")
    start("prepare", *given, "--height=128", "--width=112", f"--output={folder / 'real'}")
  yield "real clips", prepared(folder / "real", LEFT_OUT["real clips"]) if real else skip


def compare(before: dict, now: dict) -> int:
  """Prints a line for each part that differs, where neither side skipped it. Returns: the exit code."""
  sides = (before["parts"], now["parts"])
  if other := [name for name in now["machine"] if now["machine"][name] != before["machine"].get(name)]:
    print(f"another {', '.join(other)} than before, which alone may change parts")
  skipped = {name.removesuffix(": skipped") for side in sides for name in side if name.endswith(": skipped")}
  names = [n for n in dict.fromkeys([*sides[0], *sides[1]]) if n.partition(": ")[0] not in skipped]
  changed = [name for name in names if sides[0].get(name) != sides[1].get(name)]
  for name in changed:
    print(f"{name}: {', now '.join(side.get(name, 'nothing')[:16] for side in sides)}")
  print(f"{len(changed)} of {len(names)} parts differ from {before['commit']}; skipped: {sorted(skipped) or 'none'}")
  return int(len(changed) > 0)


def main() -> None:
  parser = argparse.ArgumentParser(prog="python -m benchmarks.behaviour")
  wanted = parser.add_mutually_exclusive_group(required=True)
  wanted.add_argument("--json", help="file to write")
  wanted.add_argument("--against", help="file to compare with")
  options = parser.parse_args()
  try:  # before minutes of work
    before = json.loads(Path(options.against).read_text()) if options.against else None
    open(options.json or os.devnull, "a").close()
  except (OSError, ValueError) as error:
    parser.error(f"a file of {sys.argv[1:]} cannot be used: {error}")
  for name in [name for name in os.environ if name.startswith(("JAX_", "XLA_"))]:
    del os.environ[name]
  os.environ.update(ENVIRONMENT)  # before jax is imported, and for every program
  said = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=40"], cwd=ROOT, capture_output=True)
  now = {"commit": said.stdout.decode().strip(), "machine": {"python": sys.version}, "left out": LEFT_OUT, "parts": {}}
  now["machine"] |= {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "numpy")}
  if os.path.exists("/proc/cpuinfo"):
    now["machine"] |= dict(re.findall(r"(?m)^(model name|flags)\s*: (.*)", Path("/proc/cpuinfo").read_text()))
  with tempfile.TemporaryDirectory() as folder:
    for name, found in parts(Path(folder)):
      now["parts"] |= {f"{name}: {part}": value for part, value in found}
      print(name, file=sys.stderr, flush=True)
  if options.against:
    sys.exit(compare(before, now))
  Path(options.json).write_text(json.dumps(now, indent=1) + "\n")


if __name__ == "__main__":
  main()
