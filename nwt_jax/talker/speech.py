"""Speech with phoneme times for the synthetic talker, from espeak-ng through its C interface (no place in the paper).

espeak-ng carries state from one utterance to the next (the phase of its noise and flutter, C's `rand`), so the same
text spoken twice in one process differs. Each utterance therefore gets the library afresh: loaded, spoken, unloaded.
That costs a few milliseconds, and makes the sound a function of the arguments in any process and any order.
"""

import _ctypes
import ctypes
import threading
from typing import NamedTuple

import numpy as np
import soxr

from nwt_jax.errors import InputError

SAMPLE_RATE = 24000

_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: return when everything is synthesised, call back with the samples
_OPTIONS = 0x1 | 0x2 | 0x8000  # phoneme events, as IPA; do not exit() the process when its data is missing
_EVENT_END, _EVENT_PHONEME = 0, 7
_RATE, _PITCH = 1, 3  # espeak_PARAMETER
_UTF8 = 1

# Two libraries at once would share one handle, and so their state.
_lock = threading.Lock()


class Speech(NamedTuple):
  """One utterance: audio, float32 [samples] at 24 kHz; phonemes, (IPA symbol, start_s, end_s) in order, "" a pause."""

  audio: np.ndarray
  phonemes: tuple[tuple[str, float, float], ...]


class _Identity(ctypes.Union):
  _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
  _fields_ = [
    ("type", ctypes.c_int),
    ("unique_identifier", ctypes.c_uint),
    ("text_position", ctypes.c_int),
    ("length", ctypes.c_int),
    ("audio_position", ctypes.c_int),
    ("sample", ctypes.c_int),
    ("user_data", ctypes.c_void_p),
    ("id", _Identity),
  ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def speak(text: str, voice: str = "en-us", rate: int = 160, pitch: int = 50) -> Speech:
  """Speaks a text.

  Args: text: what to say. voice: an espeak-ng voice, with a variant after "+" if wanted ("en-us", "en-gb-scotland+m3");
    variants with breath in them (f2, f3, f5) read memory that espeak-ng never sets, and are refused. rate: words per
    minute, 80 to 450. pitch: 0 to 100, 50 is the voice's own.
  Returns: a Speech, the same for the same arguments in every process.
  Raises: InputError: the extra is not installed, or the voice is unknown."""
  if voice.rpartition("+")[2] in ("f2", "f3", "f5"):
    raise InputError(f"voice {voice!r} does not repeat itself; want another variant, such as +f1, +f4, +m1 to +m8")
  with _lock:
    raw, rate_in, events = _synthesise(text, voice, rate, pitch)
  audio = np.frombuffer(raw, np.int16).astype(np.float32) / 32768
  audio = soxr.resample(audio, rate_in, SAMPLE_RATE).astype(np.float32)
  ends = [start for _, start in events[1:]] + [len(raw) // 2]
  phonemes = tuple(
    (symbol, round(start / rate_in, 4), round(end / rate_in, 4))
    for (symbol, start), end in zip(events, ends, strict=True)
    if end > start
  )
  return Speech(audio, phonemes)


def _synthesise(text, voice, rate, pitch):
  """Loads espeak-ng, speaks, unloads. Returns (int16 bytes, sample rate, [(symbol, sample)])."""
  try:
    import espeakng_loader
  except ImportError:
    raise InputError(
      "the talker's speech needs espeak-ng, which is not installed; do: pip install 'nwt_jax[talker]'"
    ) from None
  # espeak's noise comes from rand(); nothing else here draws from C's generator, so seeding it disturbs nobody.
  ctypes.CDLL(None).srand(1)
  library = ctypes.CDLL(espeakng_loader.get_library_path())
  chunks, events = [], []

  def receive(samples, count, event):
    if samples and count > 0:
      chunks.append(ctypes.string_at(samples, 2 * count))
    i = 0
    while event[i].type != _EVENT_END:
      if event[i].type == _EVENT_PHONEME:
        events.append((event[i].id.string.decode("utf-8", "ignore"), event[i].sample))
      i += 1
    return 0

  callback = _Callback(receive)  # must live as long as the library may call it
  try:
    rate_in = library.espeak_Initialize(_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), _OPTIONS)
    if rate_in <= 0:
      raise RuntimeError(f"espeak-ng did not start (code {rate_in})")
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
      raise InputError(f"espeak-ng has no voice {voice!r}; want one such as en-us, en-gb-x-rp, en-gb-scotland+m3")
    library.espeak_SetParameter(_RATE, int(rate), 0)
    library.espeak_SetParameter(_PITCH, int(pitch), 0)
    data = text.encode() + b"\0"
    library.espeak_Synth(data, len(data), 0, 1, 0, _UTF8, None, None)
    library.espeak_Synchronize()
  finally:
    library.espeak_Terminate()
    _ctypes.dlclose(library._handle)
  return b"".join(chunks), rate_in, events
