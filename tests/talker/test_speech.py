"""Speech for the talker: a function of its arguments, with phoneme times that tile the sound."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from nwt_jax.errors import InputError
from nwt_jax.talker.people import PEOPLE
from nwt_jax.talker.speech import SAMPLE_RATE, speak

TEXT = "The yellow boat is by the old bridge."


@pytest.fixture
def needs_espeak():
  pytest.importorskip("espeakng_loader", reason="speech needs the extra: pip install 'nwt_jax[talker]'")


def _digest(speech):
  return hashlib.sha256(speech.audio.tobytes() + repr(speech.phonemes).encode()).hexdigest()


def test_the_same_words_sound_the_same_whatever_was_said_before(needs_espeak):
  first = speak(TEXT, "en-us+f4", 160, 50)
  speak("Something else, with hissing and frothing.", "en-gb-scotland+m4", 140, 30)
  again = speak(TEXT, "en-us+f4", 160, 50)
  np.testing.assert_array_equal(first.audio, again.audio)
  assert first.phonemes == again.phonemes
  assert np.isfinite(first.audio).all() and 0.05 < np.abs(first.audio).max() <= 1.0


def test_another_process_says_the_same(needs_espeak):
  code = (
    f"import hashlib; from nwt_jax.talker.speech import speak; s = speak({TEXT!r}, 'en-us+m3', 150, 40);"
    "print(hashlib.sha256(s.audio.tobytes() + repr(s.phonemes).encode()).hexdigest())"
  )
  speak("Warm up.", "en-us", 200, 60)
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == _digest(speak(TEXT, "en-us+m3", 150, 40))


def test_phonemes_tile_the_sound(needs_espeak):
  speech = speak("My baby may bump.", "en-us", 150, 50)
  symbols = [symbol.lstrip("ˈˌ") for symbol, _, _ in speech.phonemes]
  assert symbols.count("m") == 3 and symbols.count("b") == 3 and symbols.count("p") == 1
  assert any("eɪ" in symbol for symbol in symbols)
  starts, ends = zip(*[(a, b) for _, a, b in speech.phonemes], strict=True)
  assert all(a < b for a, b in zip(starts, ends, strict=True))
  assert ends[:-1] == starts[1:]
  assert ends[-1] == pytest.approx(len(speech.audio) / SAMPLE_RATE, abs=1e-3)


def test_rate_is_heard(needs_espeak):
  assert len(speak(TEXT, "en-us", 240, 50).audio) < 0.8 * len(speak(TEXT, "en-us", 130, 50).audio)


def test_every_voice_of_the_cast_exists(needs_espeak):
  for voice in sorted({voice for person in PEOPLE for voice in person.voices}):
    assert len(speak("Hello.", voice, 160, 50).audio) > 4000


def test_unknown_voices_are_refused(needs_espeak):
  with pytest.raises(InputError, match="no voice 'en-moon'"):
    speak(TEXT, "en-moon", 150, 50)
  with pytest.raises(InputError, match="does not repeat itself"):
    speak(TEXT, "en-us+f5", 150, 50)


def test_without_the_extra_one_line_names_it(monkeypatch):
  monkeypatch.setitem(sys.modules, "espeakng_loader", None)
  with pytest.raises(InputError, match=r"pip install 'nwt_jax\[talker\]'"):
    speak(TEXT)
