"""The synthetic talker: a function of its seed, exact truth, lips that meet, looks and styles that differ."""

import json
import random
import time

import numpy as np
import pytest

from nwt_jax.errors import InputError
from nwt_jax.talker.clip import EPISODES, SAMPLE_RATE, STYLES, make_clip, still
from nwt_jax.talker.face import gap_of, half_width_of
from nwt_jax.talker.motion import move
from nwt_jax.talker.sentences import make_sentence

HEIGHT, WIDTH = 64, 56
PLAIN = {"panel": "none", "camera": "centre", "posture": "upright"}


@pytest.fixture
def needs_espeak():
  pytest.importorskip("espeakng_loader", reason="the talker's speech needs the extra: pip install 'nwt_jax[talker]'")


def test_a_clip_is_a_function_of_seed_and_index(needs_espeak):
  first = make_clip(3, 1, HEIGHT, WIDTH)
  other = make_clip(3, 2, HEIGHT, WIDTH)
  again = make_clip(3, 1, HEIGHT, WIDTH)
  np.testing.assert_array_equal(first.frames, again.frames)
  np.testing.assert_array_equal(first.audio, again.audio)
  assert first.truth == again.truth and first.name == again.name
  assert first.truth["text"] != other.truth["text"] and first.name != other.name


def test_truth_has_a_value_a_frame_and_sound_is_as_long_as_the_picture(needs_espeak):
  clip = make_clip(3, 0, HEIGHT, WIDTH)
  frames = len(clip.frames)
  assert clip.frames.shape == (frames, HEIGHT, WIDTH, 3) and clip.frames.dtype == np.uint8
  assert 90 <= frames <= 150
  assert clip.audio.shape == (frames * SAMPLE_RATE // 30,) and clip.audio.dtype == np.float32
  assert json.loads(json.dumps(clip.truth)) == clip.truth
  assert all(len(clip.truth[key]) == frames for key in ("opening", "width", "pose", "blink", "brow"))
  assert np.abs(clip.truth["pose"]).max() <= 1.5
  assert max(clip.truth["blink"]) > 0.9
  assert set(clip.truth["style"]) == set(STYLES) and clip.episode in EPISODES


def test_asking_for_an_episode_keeps_the_sentence_and_the_style(needs_espeak):
  drawn = make_clip(4, 7, HEIGHT, WIDTH)
  other = next(name for name in EPISODES if name != drawn.episode and _cast(name) == _cast(drawn.episode))
  asked = make_clip(4, 7, HEIGHT, WIDTH, episode=other, style={"panel": "left"})
  assert asked.episode == other and asked.truth["text"] == drawn.truth["text"]
  assert asked.truth["style"] == {**drawn.truth["style"], "panel": "left"}


def test_the_mouth_does_what_the_phonemes_ask(needs_espeak):
  clip = make_clip(1, 0, 32, 28, text="My baby may bump a far car. We see you too.")
  opening, width = np.array(clip.truth["opening"]), np.array(clip.truth["width"])
  times = (np.arange(len(opening)) + 0.5) / 30

  def during(track, symbols):
    spans = [(a, b) for symbol, a, b in clip.truth["phonemes"] if symbol.strip("ˈˌː") in symbols]
    return [track[(times > a - 0.02) & (times < b + 0.02)] for a, b in spans]

  shut = [part.min() for part in during(opening, ("m", "b", "p"))]
  assert len(shut) == 7 and max(shut) < 0.8  # the lips meet
  assert max(part.max() for part in during(opening, ("ɑ", "ɑːɹ"))) > 8  # and open wide
  assert max(part.max() for part in during(width, ("i",))) > min(part.min() for part in during(width, ("u",))) + 6


def test_silence_keeps_the_mouth_shut_and_the_head_still():
  motion = move((), np.zeros(SAMPLE_RATE, np.float32), 30, 30, SAMPLE_RATE)
  assert motion.opening.max() == 0
  assert np.ptp(motion.pose, axis=0).max() < 1e-6


def test_the_mouth_is_large_enough_to_read():
  assert 2 * half_width_of(0.5) >= 18  # of 112 pixels
  assert 12 <= gap_of(1.0) <= 15


def test_every_episode_and_every_style_looks_different():
  shown = [still(name, PLAIN, HEIGHT, WIDTH) for name in EPISODES]
  others = [{**PLAIN, key: value} for key in STYLES for value in STYLES[key] if value != PLAIN[key]]
  shown += [still(EPISODES[0], style, HEIGHT, WIDTH) for style in others]
  assert len(EPISODES) >= 8
  for i, a in enumerate(shown):
    for b in shown[:i]:
      assert np.abs(a.astype(int) - b).mean() > 2


def test_two_sizes_show_the_same_picture():
  large, small = still("garden", PLAIN, 128, 112), still("garden", PLAIN, 64, 56)
  halved = large.reshape(64, 2, 56, 2, 3).mean((1, 3))
  assert np.abs(halved - small).mean() < 3


def test_test_sentences_are_new_but_their_words_are_not():
  def sentences(seed, count):
    return [make_sentence(random.Random(f"{seed} {i}")) for i in range(count)]

  training, test = sentences(1, 600), sentences(2, 60)
  words = lambda texts: {word.strip(".,").lower() for text in texts for word in text.split()}
  assert len(words(training)) > 250
  assert not set(training) & set(test)
  assert words(test) <= words(training)


def test_drawing_is_faster_than_the_clip_lasts(needs_espeak):
  make_clip(6, 0, 128, 112)  # imports
  start = time.process_time()
  clip = make_clip(6, 1, 128, 112)
  assert time.process_time() - start < len(clip.frames) / 30


def test_bad_requests_are_refused():
  with pytest.raises(InputError, match="'kitchn' is unknown.*kitchen"):
    make_clip(0, 0, HEIGHT, WIDTH, episode="kitchn")
  with pytest.raises(InputError, match="panel='top'"):
    make_clip(0, 0, HEIGHT, WIDTH, style={"panel": "top"})
  with pytest.raises(InputError, match="16x16"):
    make_clip(0, 0, 16, 16)


def _cast(episode):
  from nwt_jax.talker.people import PEOPLE

  return PEOPLE[EPISODES.index(episode)].voices[0].endswith("f1")
