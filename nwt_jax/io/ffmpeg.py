"""The one place that starts ffmpeg: what it may open, what it says about a file, and its errors in one line."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg

from nwt_jax.errors import InputError

# Containers of sound and video only: a playlist or script that ffmpeg would follow to other files is not among them.
FORMATS = (
  "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,h264,hevc,m4v,asf,flv,ogg,wav,w64,flac,mp3,aac,aiff,"
  "caf,au,yuv4mpegpipe,mxf,gif"
)
SAFE_INPUT = ["-protocol_whitelist", "file,pipe", "-format_whitelist", FORMATS]
QUIET = ["-hide_banner", "-nostdin", "-loglevel", "error"]


@dataclass(frozen=True)
class MediaInfo:
  """What ffmpeg reports about a file: the first picture stream (cover art left out) and the first sound stream.

  width and height count pixels as stored, 0 without a picture stream; fps is the nominal rate; duration is in seconds,
  0 when the container does not say; sample_rate is 0 without a sound stream.
  """

  width: int
  height: int
  fps: float
  duration: float
  sample_rate: int
  video_codec: str
  audio_codec: str

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
  return [*SAFE_INPUT, "-i", f"file:{path}"]


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


def decode(path, arguments, kind):
  """Runs ffmpeg over one file and collects what it writes to its standard output.

  Args: path: input file. arguments: what follows the input, without the output. kind: the word for what is wanted.
  Returns: bytes.
  Raises: InputError: ffmpeg refuses the file.
  """
  with tempfile.TemporaryFile() as log:
    command = [executable(), *QUIET, *source(path), *arguments, "pipe:1"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, check=False)
    if done.returncode:
      raise InputError(f"{path} cannot be read as {kind}: {last_words(log, path)}; give a file that plays elsewhere")
  return done.stdout


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
  command = [executable(), "-hide_banner", "-nostdin", *source(path)]
  done = subprocess.run(
    command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
  )
  text = done.stderr.decode("utf-8", "replace")
  streams = [line.strip() for line in text.splitlines() if re.match(r"\s*Stream #0:\d+", line)]
  if not streams:
    raise InputError(f"{path} is not a sound or video file that ffmpeg knows; give one that plays elsewhere")
  video = next((line for line in streams if ": Video: " in line and "(attached pic)" not in line), "")
  audio = next((line for line in streams if ": Audio: " in line), "")
  size = re.search(r", (\d+)x(\d+)", video)
  fps = re.search(r", ([\d.]+)(k?) fps", video) or re.search(r", ([\d.]+)(k?) tbr", video)
  rate = re.search(r", (\d+) Hz", audio)
  clock = re.search(r"Duration: (\d+):(\d+):([\d.]+)", text)
  return MediaInfo(
    width=int(size[1]) if size else 0,
    height=int(size[2]) if size else 0,
    fps=float(fps[1]) * (1000 if fps[2] else 1) if fps else 0.0,
    duration=int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3]) if clock else 0.0,
    sample_rate=int(rate[1]) if rate else 0,
    video_codec=_codec(video, "Video"),
    audio_codec=_codec(audio, "Audio"),
  )


def _codec(line, kind):
  found = re.search(rf": {kind}: (\w+)", line)
  return found[1] if found else ""
