"""Several channels of sound as one: the same rule for every file, array and stream (D.8 asks for mono)."""

import numpy as np

from nwt_jax.errors import MediaError

MOST = 8  # channels that a recording of one person has
_HALF = 0.5**0.5  # of the power
# Bits of WAVEFORMATEXTENSIBLE's channel mask: left, right, centre, LFE, beside the centre; all others are around, 0.5.
_GAINS = {0: _HALF, 1: _HALF, 2: 1.0, 3: 0.0, 6: _HALF, 7: _HALF}
_USUAL = {5: 0x607, 6: 0x60F, 7: 0x70F, 8: 0x63F}  # masks by number of channels: FLAC's (RFC 9639, 9.1.3)
_CANCELLED, _UNHEARD, _ALIKE = 0.1, 0.01, 0.8  # of a power: -10 dB, -20 dB, -1 dB
_FULL_SCALE = 16.0  # +24 dB: overdriven floats stay below, and speech in 16-bit integers' scale is above


def gains(channels: int, mask: int = 0) -> tuple[float, ...]:
  """Returns the weight of each channel in the mix.

  GAP: the paper names no rule. Up to two channels: their mean, so that a voice in both is as loud as in a mono file.
  From five on: ITU-R BS.775's, as ffmpeg has it: the centre whole, left and right by 0.71, what is around by a half, no
  LFE. Three and four: all by 0.71, because their labels are not to be trusted: a file without labels becomes 2.1 and
  4.0 when ffmpeg converts it, and 3.0 and quad by FLAC's rule. More than eight that do not tell: their mean.

  Args: mask: where the channels belong, WAVEFORMATEXTENSIBLE's; 0: unknown, the usual order of so many.
  """
  if channels in (3, 4):
    return (_HALF,) * channels
  if mask.bit_count() != channels:
    mask = _USUAL.get(channels, 0)
  if channels < 3 or not mask:
    return (1 / channels,) * channels
  return tuple(_GAINS.get(bit, 0.5) for bit in range(mask.bit_length()) if mask >> bit & 1)


class Downmix:
  """Mixes blocks of sound, and collects statistics that show whether the channels cancel.

  Args: channels, mask: see `gains`. only: a channel to take instead of the mix.
  """

  def __init__(self, channels: int, mask: int = 0, only: int | None = None):
    self.channels, self.only = channels, only
    self.samples, self.bad, self.peak = 0, 0, 0.0
    self._gains = gains(channels, mask)
    self._power, self._mixed = np.zeros(channels), 0.0  # sums of squares

  def __call__(self, block: np.ndarray) -> np.ndarray:
    """Args: block: float [samples channels]. Returns: float32 [samples], whatever the blocks that it comes in."""
    self.samples += len(block)
    bad, peak = measure(block)
    self.bad, self.peak = self.bad + bad, max(self.peak, peak)
    if self.channels == 1:
      return np.ascontiguousarray(block[:, 0], np.float32)
    if self.channels == 2:
      mix = block.mean(axis=1)
    else:  # channel by channel: a product's rounding depends on the number of rows
      mix = sum(np.float32(gain) * block[:, channel] for channel, gain in enumerate(self._gains) if gain)
    self._power += np.square(block, dtype=np.float64).sum(axis=0)
    self._mixed += float(np.square(mix, dtype=np.float64).sum())
    return np.ascontiguousarray(mix if self.only is None else block[:, self.only], np.float32)

  def check(self, name: str) -> None:
    """Raises: InputError: what came so far are no samples of sound. Args: name: the recording's, for the message."""
    check_values(name, self.bad, self.peak)

  @property
  def cancelled(self) -> int | None:
    """The loudest channel (of those within 1 dB the first), where the mix so far is 10 dB quieter than it: the channels
    cancel (a cable with swapped poles), or the voice is in one that a mix leaves out. None otherwise."""
    power = np.where(np.array(self._gains) > 0, self._power, _UNHEARD * self._power)
    loudest = int((power >= _ALIKE * power.max()).argmax())
    return loudest if self.channels > 1 and self._mixed < _CANCELLED * power[loudest] else None


def cancel_message(name: str, channel: int) -> str:
  """Returns the first half of a message about a recording whose channels cancel; the action taken comes after it."""
  return f"the channels of {name} cancel: their mix is 10 dB quieter than channel {channel + 1} or more"


def measure(block: np.ndarray) -> tuple[int, float]:
  """Returns the number of samples that are NaN or infinite, and the magnitude of the loudest."""
  peak = float(np.abs(block).max(initial=0.0))  # NaN where a sample is
  return (0, peak) if np.isfinite(peak) else (int((~np.isfinite(block)).sum()), 0.0)


def check_values(name: str, bad: int, peak: float) -> None:
  """Raises: InputError: these are no samples of sound, or not in floats' scale. Args: name: the recording's."""
  if bad:
    raise MediaError(f"{name} holds {bad} samples that are NaN or infinite; clean it or export it again")
  if peak > _FULL_SCALE:
    raise MediaError(f"{name} holds floats up to {peak:g}, and full scale is 1; divide 16-bit integers by 32768")
