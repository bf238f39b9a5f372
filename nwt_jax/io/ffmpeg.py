"""The one place that starts ffmpeg: what it may open and spend, what it says about a file, its errors in one line."""

import os
import re
import resource
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg

from nwt_jax.errors import InputError

# Containers of sound and video only: a playlist or script that ffmpeg would follow to other files is not among them.
FORMATS = (
  "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,h264,hevc,m4v,asf,flv,ogg,wav,w64,flac,mp3,aac,aiff,"
  "caf,au,yuv4mpegpipe,mxf,gif"
)
MAX_PIXELS = 7680 * 4320  # of one picture: 8K
SAFE_INPUT = ["-protocol_whitelist", "file,pipe", "-format_whitelist", FORMATS, "-max_pixels", str(MAX_PIXELS)]
QUIET = ["-hide_banner", "-nostdin", "-loglevel", "error"]
# What one call may take: a file made to hurt must not stop a preparation of thousands.
MAX_SECONDS = 1800  # on the wall
PROBE_SECONDS = 60
MAX_BYTES = 8 << 30  # of output: some 25 minutes of 224 x 256 at 30 frames a second
MAX_MEMORY = 16 << 30  # of addresses, many of which are never touched
_threads: list[str] = []  # options that say how many threads to use; ffmpeg decides without them


def one_thread() -> None:
  """From now on ffmpeg takes one thread: for processes that share a machine's cores."""
  _threads[:] = ["-threads", "1", "-filter_threads", "1", "-filter_complex_threads", "1"]


@dataclass(frozen=True)
class MediaInfo:
  """What ffmpeg reports about a file: the first picture stream (cover art left out) and the first sound stream.

  width and height count pixels as stored, 0 without a picture stream; shown_width is the width in square pixels; fps is
  the nominal rate; duration is in seconds, 0 when the container does not say; sample_rate is 0 without a sound stream.
  """

  width: int
  height: int
  fps: float
  duration: float
  sample_rate: int
  video_codec: str
  audio_codec: str
  shown_width: int
  interlaced: bool

  @property
  def has_video(self):
    return self.width > 0

  @property
  def has_audio(self):
    return self.sample_rate > 0


def source(path):
  """Arguments that name an input file to ffmpeg so that the name can only mean a file on this disk.

  Args: path: any path. Returns: list of arguments, ending with the -i pair.
  """
  return [*_threads, *SAFE_INPUT, "-i", f"file:{path}"]


def check_file(path, kind):
  """Refuses what is not a non-empty file.

  Args: path: what the user named. kind: the word for what was wanted ("sound", "video").
  Returns: the path as a Path.
  Raises: InputError: missing, a folder, or empty.
  """
  path = Path(path)
  if not path.exists():
    raise InputError(f"{path} does not exist; give a {kind} file")
  if not path.is_file():
    raise InputError(f"{path} is not a file; give a {kind} file")
  if path.stat().st_size == 0:
    raise InputError(f"{path} is empty (0 bytes); give a {kind} file")
  return path


def executable():
  """The ffmpeg to run. Returns: its path. Raises: InputError: there is none on this machine."""
  try:
    return imageio_ffmpeg.get_ffmpeg_exe()
  except RuntimeError as error:
    raise InputError("no ffmpeg was found; reinstall imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE to one") from error


def run(
  arguments: Sequence, log, keep_output: bool = True, seconds: float | None = None, take: Callable | None = None
) -> tuple[int, bytes]:
  """Runs ffmpeg, within limits of time, memory and output; it and whatever it started end together.

  Args: arguments: what follows the program's name. log: open binary file for its standard error. keep_output: collect
    its standard output. seconds: on the wall; None: MAX_SECONDS. take: called with each piece of the output, which is
    not collected then, however much it is.
  Returns: exit status, standard output.
  Raises: InputError: a limit was reached.
  """
  output = subprocess.PIPE if keep_output else subprocess.DEVNULL
  process = subprocess.Popen(  # its own session, so that everything it starts can be ended with it
    [executable(), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=output, stderr=log, start_new_session=True
  )
  late = threading.Event()

  def end(*reason):
    for event in reason:
      event.set()
    try:
      os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
      pass

  seconds = MAX_SECONDS if seconds is None else seconds
  clock = threading.Timer(seconds, end, [late])
  clock.daemon = True
  clock.start()
  parts, size = [], 0
  try:
    if hasattr(resource, "prlimit"):  # Linux
      try:
        resource.prlimit(process.pid, resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MAX_BYTES, MAX_BYTES))
      except ProcessLookupError:
        pass
    if keep_output:
      while part := process.stdout.read(1 << 20):
        if take is not None:
          take(part)
          continue
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
          raise InputError(f"it unfolds to more than {MAX_BYTES >> 30} GB; cut it into clips")
    process.wait()
  finally:
    clock.cancel()
    if process.poll() is None:
      end()
      process.wait()
    if keep_output:
      process.stdout.close()
  if late.is_set():
    raise InputError(f"ffmpeg was not done with it after {seconds:g} s")
  return process.returncode, b"".join(parts)


def decode(path, arguments, kind, start=0.0, length=None, before=(), take=None):
  """Runs ffmpeg over one file and collects what it writes to its standard output.

  Args: path: input file. arguments: what follows the input, without the output. kind: the word for what is wanted.
    start, length: the part to read, seconds; None: to the end. before: options of the input. take: see run.
  Returns: bytes.
  Raises: InputError: ffmpeg refuses the file.
  """
  with tempfile.TemporaryFile() as log:
    try:
      status, output = run([*QUIET, *before, *part(start, length), *source(path), *arguments, "pipe:1"], log, take=take)
    except InputError as error:
      raise InputError(f"{path} cannot be read as {kind}: {error}") from None
    if status:
      raise InputError(f"{path} cannot be read as {kind}: {last_words(log, path)}; give a file that plays elsewhere")
  return output


def part(start, length):
  """Arguments, before an input, to read a part of it. Args: start, length: seconds; length None: to the end."""
  return [*(["-ss", f"{start:.6f}"] if start else []), *([] if length is None else ["-t", f"{length:.6f}"])]


def last_words(log, path=None):
  """The most telling line of an ffmpeg log. Args: log: open binary file. path: input name to strip. Returns: str."""
  log.seek(0)
  lines = [line.strip() for line in log.read()[-8000:].decode("utf-8", "replace").splitlines() if line.strip()]
  if any("moov atom not found" in line for line in lines):
    return "the file is cut short (its index is missing)"
  if not lines:
    return "ffmpeg gave no reason"
  line = re.sub(r"^\[[^\]]*\]\s*", "", lines[-1]).removeprefix("Error opening input: ")
  return line.replace(f"file:{path}: ", "").replace(f"file:{path}", "it").rstrip(".")


def probe(path):
  """Asks ffmpeg what a file holds, without decoding it (imageio-ffmpeg ships no ffprobe).

  Args: path: a sound or video file.
  Returns: MediaInfo.
  Raises: InputError: missing, empty, or not a sound or video file.
  """
  path = check_file(path, "sound or video")
  with tempfile.TemporaryFile() as log:
    try:
      run(["-hide_banner", "-nostdin", *source(path)], log, keep_output=False, seconds=PROBE_SECONDS)
    except InputError as error:
      raise InputError(f"{path} cannot be read: {error}") from None
    log.seek(0)
    text = log.read().decode("utf-8", "replace")
  streams = [line.strip() for line in text.splitlines() if re.match(r"\s*Stream #0:\d+", line)]
  if not streams:
    raise InputError(f"{path} is not a sound or video file that ffmpeg knows; give one that plays elsewhere")
  video = next((line for line in streams if ": Video: " in line and "(attached pic)" not in line), "")
  audio = next((line for line in streams if ": Audio: " in line), "")
  size = re.search(r", (\d+)x(\d+)", video)
  fps = re.search(r", ([\d.]+)(k?) fps", video) or re.search(r", ([\d.]+)(k?) tbr", video)
  rate = re.search(r", (\d+) Hz", audio)
  clock = re.search(r"Duration: (\d+):(\d+):([\d.]+)", text)
  shape = re.search(r"\[SAR (\d+):(\d+) DAR", video)
  aspect = int(shape[1]) / int(shape[2]) if shape and int(shape[1]) and int(shape[2]) else 1.0
  return MediaInfo(
    width=int(size[1]) if size else 0,
    height=int(size[2]) if size else 0,
    fps=float(fps[1]) * (1000 if fps[2] else 1) if fps else 0.0,
    duration=int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3]) if clock else 0.0,
    sample_rate=int(rate[1]) if rate else 0,
    video_codec=_codec(video, "Video"),
    audio_codec=_codec(audio, "Audio"),
    shown_width=max(1, round(int(size[1]) * aspect)) if size else 0,
    interlaced=bool(re.search(r"(top|bottom) (first|coded first)", video)),
  )


def _codec(line, kind):
  found = re.search(rf": {kind}: (\w+)", line)
  return found[1] if found else ""
