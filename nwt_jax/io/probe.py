"""Reads the streams of a file of sound or pictures from ffmpeg's report (imageio-ffmpeg ships no ffprobe)."""

import os
import re
import tempfile
from dataclasses import dataclass

from nwt_jax.errors import InputError, MediaError
from nwt_jax.io import ffmpeg

SECONDS = 60  # on the wall, that one file may take
# Containers whose index leads to the key frame before any moment. Elsewhere ffmpeg lands beside it: a part is then read
# from so many seconds earlier, so that its pictures are whole.
INDEXED, LEAD = {"mov", "matroska"}, 10.0
HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}  # transfer characteristics of high dynamic range


@dataclass(frozen=True)
class MediaInfo:
  """Facts about a file from ffmpeg: its first picture stream (cover art left out) and its first sound stream.

  width and height count pixels as stored, 0 without a picture stream; shown is (width, height) as a player shows it, in
  square pixels and turned upright; fps is the nominal rate; duration is in seconds, 0 when the header does not say;
  sample_rate is 0 without a sound stream; hdr is "PQ", "HLG" or ""; lead: seconds before a part's start from which to
  read it.
  """

  width: int
  height: int
  shown: tuple[int, int]
  fps: float
  duration: float
  sample_rate: int
  video_codec: str
  audio_codec: str
  interlaced: bool
  hdr: str
  lead: float

  @property
  def has_video(self) -> bool:
    return self.width > 0

  @property
  def has_audio(self) -> bool:
    return self.sample_rate > 0


def probe(path: str | os.PathLike) -> MediaInfo:
  """Asks ffmpeg what a file holds, without decoding it.

  Args: path: a sound or video file.
  Returns: MediaInfo.
  Raises: InputError: missing, empty, or not a sound or video file.
  """
  path = ffmpeg.check_file(path, "sound or video")
  with tempfile.TemporaryFile() as log:
    try:
      ffmpeg.run(["-hide_banner", "-nostdin", *ffmpeg.source(path)], log, keep_output=False, seconds=SECONDS)
    except InputError as error:
      raise MediaError(f"{path} cannot be read: {error}") from None
    log.seek(0)
    text = log.read().decode("utf-8", "replace")
  lines = text.splitlines()
  streams = [number for number, line in enumerate(lines) if re.match(r"\s*Stream #0:\d+", line)]
  if not streams:
    raise MediaError(f"{path} is not a sound or video file that ffmpeg knows; give one that plays elsewhere")
  of_kind = lambda kind: [n for n in streams if f": {kind}: " in lines[n] and "(attached pic)" not in lines[n]]
  pictures, sounds = of_kind("Video"), of_kind("Audio")
  video, audio = (lines[some[0]] if some else "" for some in (pictures, sounds))
  # What is said of the picture stream stands below it, up to the next stream.
  below = lines[pictures[0] : next((n for n in streams if n > pictures[0]), len(lines))] if pictures else []
  turn = re.search(r"rotation of (-?[\d.]+) degrees", "\n".join(below))
  size = re.search(r", (\d+)x(\d+)", video)
  fps = re.search(r", ([\d.]+)(k?) fps", video) or re.search(r", ([\d.]+)(k?) tbr", video)
  rate = re.search(r", (\d+) Hz", audio)
  clock = re.search(r"Duration: (\d+):(\d+):([\d.]+)", text)
  container = re.search(r"^Input #0, (\w+)", text, re.MULTILINE)
  width, height = map(int, size.groups()) if size else (0, 0)
  return MediaInfo(
    width=width,
    height=height,
    shown=_shown(width, height, re.search(r"\bSAR (\d+):(\d+) DAR", video), float(turn[1]) if turn else 0.0),
    fps=float(fps[1]) * (1000 if fps[2] else 1) if fps else 0.0,
    duration=int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3]) if clock else 0.0,
    sample_rate=int(rate[1]) if rate else 0,
    video_codec=_codec(video, "Video"),
    audio_codec=_codec(audio, "Audio"),
    interlaced=bool(re.search(r"(top|bottom) (first|coded first)", video)),
    hdr=next((name for word, name in HDR.items() if re.search(rf"[/ ,(]{word}\b", video)), ""),
    lead=0.0 if container and container[1] in INDEXED else LEAD,
  )


def _shown(width, height, shape, degrees):
  """Pixels are squared as they are stored, and turned after that, as players do."""
  if shape and int(shape[1]) and int(shape[2]):
    width = max(1, round(width * int(shape[1]) / int(shape[2]))) if width else 0
  return (height, width) if round(degrees / 90) % 2 else (width, height)


def _codec(line, kind):
  found = re.search(rf": {kind}: (\w+)", line)
  return found[1] if found else ""
