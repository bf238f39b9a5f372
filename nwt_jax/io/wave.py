"""Sound of any number of channels from ffmpeg: a WAV of floats, whose header tells where each channel belongs."""

import struct
from collections.abc import Callable

import numpy as np

from nwt_jax.io.downmix import Downmix

# Options of ffmpeg's input and output. It is not to guess where channels belong: one rule holds for all formats.
INPUT = ["-guess_layout_max", "2"]
OUTPUT = ["-f", "wav", "-c:a", "pcm_f32le", "-fflags", "+bitexact"]
_EXTENSIBLE = 0xFFFE  # WAVE_FORMAT_EXTENSIBLE: a format with a mask of channels


class Reader:
  """Mixes such a WAV to one channel while it comes.

  Args: begin: called with the samples per second, it returns what takes each block, float32 [samples]. only: a channel
    to take instead of the mix.
  """

  def __init__(self, begin: Callable, only: int | None = None):
    self.mix = Downmix(1)
    self._begin, self._only, self._take, self._pending = begin, only, None, bytearray()

  def feed(self, data: bytes) -> None:
    """Takes the next bytes of the file, however they are cut."""
    self._pending += data
    if self._take is None:
      if (start := _samples(self._pending)) is None:
        return
      kind, channels, rate = struct.unpack_from("<HHI", self._pending, 20)
      mask = struct.unpack_from("<I", self._pending, 40)[0] if kind == _EXTENSIBLE else 0
      self.mix, self._take = Downmix(channels, mask, self._only), self._begin(rate)
      del self._pending[:start]
    size = 4 * self.mix.channels
    whole = len(self._pending) // size * size
    block = np.frombuffer(bytes(self._pending[:whole]), "<f4").reshape(-1, self.mix.channels)
    del self._pending[:whole]
    self._take(self.mix(block))


def read(data: bytes) -> tuple[np.ndarray, int | None]:
  """Mixes a whole WAV of such floats. Args: data: its bytes.

  Returns: float32 [samples], and the channel that was taken because the channels cancel; None: their mix."""
  parts, mix = _mixed(data, None)
  channel = mix.cancelled
  if channel is not None:
    parts, _ = _mixed(data, channel)
  return np.concatenate([np.zeros(0, np.float32), *parts]), channel


def _mixed(data, only):
  parts = []
  reader = Reader(lambda rate: parts.append, only)
  reader.feed(data)
  return parts, reader.mix


def _samples(head):
  """Returns the offset of a WAV's samples; None: they begin after the end of `head`."""
  at = 12
  while len(head) >= at + 8:
    name, size = struct.unpack_from("<4sI", head, at)
    if name == b"data":
      return at + 8
    at += 8 + size
  return None
