"""One pass over a clip: its pictures and sound, their times, what ffmpeg's detectors say, and whether it is damaged.

A part of a file is judged by that part alone. Where decoding begins in the middle of a stream, the pictures before the
part may lack the pictures that they are predicted from, and the decoder complains about them: only complaints after the
last key frame before the part count.
"""

import functools
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nwt_jax.errors import InputError, MachineError
from nwt_jax.io import audio as sound
from nwt_jax.io import ffmpeg, wave
from nwt_jax.io.disk import check_space
from nwt_jax.io.probe import LEAD, MediaInfo, probe
from nwt_jax.io.video import squared, tone_mapped

MAX_SECONDS = 300.0  # longest clip, because its pictures are in memory together
PICTURES = 8  # number of pictures, spread over the clip, that are searched for faces and shown for review
SIDE = 64  # pixels, of the small grey pictures
STILL, CUT = 1.0, 7.0  # seconds; ffmpeg's scdet score, which heads that talk keep below 5
_HEIGHT = 480  # pixels, of the large pictures at most
_GUESS = 10.0  # seconds that a clip of unknown duration is first taken to have
_QUIET = ["-hide_banner", "-nostdin", "-nostats", "-y", "-max_error_rate", 1, "-loglevel"]
_KNOWN_CLIP = Path(__file__).resolve().parents[2] / "released" / "talker" / "demo.mp4"


class Damaged(Exception):
  """The decoder finds errors in the clip; the text is the first of them."""


@dataclass
class Decoded:
  """The results of one pass over a clip; a stream that holds nothing gives empty arrays.

  grey: uint8 [t SIDE SIDE], every picture. pictures: uint8 RGB [n h w 3], spread over the clip, upright and in square
  pixels. audio: float32 [samples] at 24 kHz. first, last, stall: times at which the first picture is shown and the last
  one ends, and the longest time between two pictures, seconds. first_sound, last_sound: the same for the sound.
  cancelled: whether channels cancel each other, so that one was taken. log: the output of ffmpeg's detectors.
  """

  grey: np.ndarray
  pictures: np.ndarray
  audio: np.ndarray
  first: float
  last: float
  stall: float
  first_sound: float
  last_sound: float
  cancelled: bool
  log: str


def decode(
  path: str | os.PathLike, info: MediaInfo, start: float = 0.0, length: float | None = None, segment: bool = False
) -> Decoded:
  """Decodes a clip.

  Args: path: a file with picture and sound. info: the result of `probe`. start, length: the part of the file that is
    the clip, seconds; None: to the end, at most MAX_SECONDS and one. segment: whether the file was cut out of a stream.
  Raises: Damaged. InputError: decoding exceeds a limit of time, memory or output. MachineError: this machine cannot
    decode.
  """
  try:
    return _decode(path, info, start, length, segment)
  except Damaged:
    prove_machine()  # before the file is blamed
    raise
  except OSError as error:
    raise MachineError(f"{error.filename or tempfile.gettempdir()}: {error.strerror}; then try again") from error


def prove_machine() -> None:
  """Decodes a clip that is known to be whole, with the options that every clip is decoded with.

  Raises: MachineError: decoding fails here, so that no failure may be blamed on a file.
  """
  check_space()
  try:
    _decode(_KNOWN_CLIP, probe(_KNOWN_CLIP), 0.0, None, False)
  except (InputError, Damaged) as error:
    raise MachineError(
      f"this ffmpeg ({ffmpeg.version(ffmpeg.executable())}) fails with a clip that is whole: {error}; unset "
      "IMAGEIO_FFMPEG_EXE, or reinstall imageio-ffmpeg"
    ) from error
  except OSError as error:
    raise MachineError(f"{error.filename or tempfile.gettempdir()}: {error.strerror}; then try again") from error


def _decode(path, info, start, length, segment):
  """Does the work of `decode` for a machine that can decode. Raises: OSError: the disk fails."""
  seconds = length or (info.duration - start if info.duration > start else _GUESS)
  lead = min(start, info.lead)
  with tempfile.TemporaryDirectory(prefix="nwt-examine-") as name:
    folder = Path(name)
    run = functools.partial(_run, path, info, start, lead, length, folder=folder)
    errors, log = run(seconds, strict=True)
    if errors:
      if not (start or segment) or _damaged(path, start, length, folder):
        raise Damaged(errors[0])
      _, log = run(seconds, strict=False)
    last = _times(folder / "shown")[1]
    if not length and last and not 0.75 < last / seconds < 1.25:
      # The header did not say how long it is, or was wrong: pictures are taken again, from all of the clip.
      _, log = run(last, strict=not errors)
    files = sorted(folder.glob("*.ppm"), key=lambda file: int(file.stem))
    large = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]  # ty: ignore[no-matching-overload]
    audio, channel = wave.read((folder / "sound").read_bytes())
    return Decoded(
      np.fromfile(folder / "grey", np.uint8).reshape(-1, SIDE, SIDE),
      np.stack(large) if large else np.zeros((0, SIDE, SIDE, 3), np.uint8),
      audio,
      *_times(folder / "shown"),
      *_times(folder / "heard")[:2],
      channel is not None,
      log,
    )


def _run(path, info, start, lead, length, seconds, folder, strict):
  """Decodes all of the clip into files; a strict decoder stops at its first error.

  Returns: the complaints of the file's readers, and the whole log.
  """
  for left in folder.iterdir():
    left.unlink()
  rate = min(PICTURES / seconds, 30.0)
  from_start = f"trim=start={lead:.6f},setpts=PTS-{lead:.6f}/TB," if lead else ""
  detect = f"blackdetect=d=0.1:pix_th=0.1,freezedetect=n=-60dB:d={STILL},scdet=t={CUT}"
  # The last picture that rounds to each tick: from the middle of each eighth of the clip, not from its edges.
  large = [f"fps={rate:.6f}:round=near", *tone_mapped(info), *squared(info)]
  large += [f"scale=-2:'min({_HEIGHT},ih)'", "setsar=1"]
  graph = [
    f"[0:V:0]{from_start}split[v][w]",
    f"[v]{detect},scale={SIDE}:{SIDE}:flags=area,format=gray,split[grey][shown]",
    f"[w]{','.join(large)}[large]",
    f"[0:a:0]{from_start.replace('trim', 'atrim').replace('setpts', 'asetpts')}asplit[a][heard]",
    "[a]silencedetect=n=-50dB:d=0.3,aresample=async=1:first_pts=0[sound]",
  ]
  span = lead + (length or MAX_SECONDS + 1)
  command = [*_QUIET, "level+info", *(["-xerror", "-err_detect", "explode"] if strict else [])]
  command += [*wave.INPUT, *ffmpeg.part(start - lead, span), *ffmpeg.source(path), "-filter_complex", ";".join(graph)]
  command += ["-map", "[grey]", "-fps_mode", "passthrough", "-f", "rawvideo", folder / "grey"]
  command += ["-map", "[shown]", "-fps_mode", "passthrough", "-f", "framecrc", folder / "shown"]
  command += ["-map", "[large]", "-frames:v", PICTURES, "-f", "image2", "-c:v", "ppm", "-pix_fmt", "rgb24"]
  command += [folder / "%d.ppm", "-map", "[heard]", "-f", "framecrc", folder / "heard"]
  command += ["-map", "[sound]", "-ar", sound.SAMPLE_RATE, *wave.OUTPUT, folder / "sound"]
  with open(folder / "log", "w+b") as log:
    status, _ = ffmpeg.run(command, log, keep_output=False)
    errors = ffmpeg.errors(log)
    if status and not errors:
      errors = [ffmpeg.first_error(log, path)]
    log.seek(0)
    return [ffmpeg.message(error, path) for error in errors], log.read().decode("utf-8", "replace")


def _damaged(path, start, length, folder):
  """Returns whether decoding, begun well before a part, goes wrong after the last key frame before the part.

  In a file that was cut out of a stream, errors count after its first key frame."""
  lead = min(start, LEAD)
  errors = _count(path, start - lead, None if length is None else lead + length, folder)
  keys = [time for time in _key_frames(folder / "packets") if time > 0]
  keys = [time for time in keys if time <= lead] if start else keys[:1]
  return not keys or errors > _count(path, start - lead, keys[-1], folder)


def _count(path, start, length, folder):
  """Counts the complaints of the readers, in one thread so that the count is reproducible. Leaves the packets' times.

  The readers are not told to stop at an error: some versions of ffmpeg then offer a packet again and again.
  """
  command = [*_QUIET, "repeat+level+error", "-threads", 1, *ffmpeg.part(start, length), *ffmpeg.source(path)]
  command += ["-map", "0:V:0", "-map", "0:a:0", "-f", "null", "-"]
  command += ["-map", "0:V:0", "-c", "copy", "-f", "framecrc", folder / "packets"]
  with open(folder / "log", "w+b") as log:
    ffmpeg.run(command, log, keep_output=False)
    return len(ffmpeg.errors(log))


def _rows(path):
  """Returns the fields of each packet in a file of ffmpeg's framecrc, and the unit of its times, seconds."""
  text = path.read_text()
  base = re.search(r"^#tb 0: (\d+)/(\d+)", text, re.MULTILINE)
  lines = [line.split(",") for line in text.splitlines() if line and line[0] != "#"]
  return lines, int(base[1]) / int(base[2]) if base else 0.0


def _times(path):
  """Returns when decoded pictures or sounds begin, when the last one ends, and the longest step, in seconds."""
  lines, base = _rows(path)
  if not lines:
    return 0.0, 0.0, 0.0
  starts = np.array([int(line[2]) for line in lines]) * base
  # A picture of unknown duration is taken to last as long as most.
  usual = float(np.median(np.diff(starts))) if len(starts) > 1 else 0.0
  end = float(starts[-1]) + (int(lines[-1][3]) * base or usual)
  return float(starts[0]), end, float(np.diff([*starts, end]).max())


def _key_frames(path):
  """Returns the times of the key frames among copied packets, seconds, in order; other packets bear flags."""
  lines, base = _rows(path)
  return sorted(int(line[2]) * base for line in lines if not any("F=" in field for field in line[6:]))
