"""The synthetic talker: a drawn head and shoulders that speaks, with the exact truth of how it moved.

It stands where the paper has hundreds of hours of one show: `episode` sets looks, room and camera as the paper's
episodes do, and a style that the sound does not determine (where the camera points, a panel, the posture) is left for
the style encoder to find. Every clip is a function of (seed, index).
"""

import functools
import random
from typing import NamedTuple

import cv2
import numpy as np

from nwt_jax.errors import InputError
from nwt_jax.talker.body import HEAD_BOX, paint_body, paint_glasses, paint_head
from nwt_jax.talker.canvas import Canvas
from nwt_jax.talker.face import JAW_DROP, JAW_END, JAW_TOP, Eyes, Mouth, blend, gap_of, half_width_of
from nwt_jax.talker.motion import Motion, move
from nwt_jax.talker.people import EPISODES, PEOPLE
from nwt_jax.talker.rooms import paint_panel, paint_room
from nwt_jax.talker.sentences import make_sentence, pick
from nwt_jax.talker.speech import SAMPLE_RATE, speak

STYLES = {"panel": ("none", "left", "right"), "camera": ("left", "centre", "right"), "posture": ("upright", "leaning")}

_SEAT = 50.0  # height of the eyes in the frame, units
_HIP = 78.0  # what the body leans about, head units
_LEAN = 5.0  # degrees
_CAMERA = {"left": -9.0, "centre": 0.0, "right": 9.0}
_LEAD, _TAIL = 0.2, 0.25  # seconds of silence around the speech


class TalkerClip(NamedTuple):
  """One clip. frames: uint8 RGB [t h w 3]. audio: float32 24 kHz, exactly t frames long. truth: ready for JSON."""

  name: str
  frames: np.ndarray
  audio: np.ndarray
  episode: str
  truth: dict


def make_clip(
  seed: int,
  index: int,
  height: int,
  width: int,
  fps: float = 30,
  episode: str | None = None,
  style: dict | None = None,
  text: str | None = None,
) -> TalkerClip:
  """Makes a clip of about 3 to 5 seconds.

  Args: seed, index: which clip; other seeds say other sentences. height, width: pixels, about 8 to 7, from 32 up.
    fps: frames a second. episode: one of EPISODES, else chosen by the seed. style: some of the keys of STYLES; the rest
    is chosen by the seed. text: what to say, else a sentence of the seed's.
  Returns: a TalkerClip. truth has text, voice, rate, pitch, fps, phonemes [[symbol, start_s, end_s]], opening [t]
    (the gap between the lips) and width [t] (between the corners) in units of 1/128 of the frame's height,
    pose [t][turn, nod, roll], blink [t], brow [t], style {panel, camera, posture}.
  Raises: InputError: unknown episode or style, a size that cannot show a face, or espeak-ng is not installed."""
  chance = random.Random(f"nwt talker {seed} {index}")
  # Drawn in this order whatever is overridden, so that asking for an episode does not change the sentence.
  drawn_episode = pick(chance, EPISODES)
  drawn_style = {key: pick(chance, options) for key, options in STYLES.items()}
  chances = [chance.random() for _ in range(3)]
  episode, style = _check(episode or drawn_episode, {**drawn_style, **(style or {})}, height, width)
  person = PEOPLE[EPISODES.index(episode)]
  voice = person.voices[int(chances[0] * len(person.voices))]
  rate, pitch = int(142 + 36 * chances[1]), int(person.pitch - 12 + 25 * chances[2])
  text, speech = _say(chance, text, voice, rate, pitch)
  lead = round(_LEAD * SAMPLE_RATE)
  frames = int(np.ceil((_LEAD + len(speech.audio) / SAMPLE_RATE + _TAIL) * fps))
  audio = np.zeros(round(frames * SAMPLE_RATE / fps), np.float32)
  audio[lead : lead + len(speech.audio)] = speech.audio * (0.1 / max(float(np.sqrt(np.mean(speech.audio**2))), 1e-4))
  audio = np.clip(audio, -1, 1)
  phonemes = tuple((symbol, round(a + _LEAD, 4), round(b + _LEAD, 4)) for symbol, a, b in speech.phonemes)
  motion = move(phonemes, audio, frames, fps, SAMPLE_RATE)
  truth = {
    "text": text, "voice": voice, "rate": rate, "pitch": pitch, "fps": fps, "phonemes": [list(p) for p in phonemes],
    "opening": _rounded(gap_of(motion.opening) * person.zoom),
    "width": _rounded(2 * half_width_of(motion.width) * person.zoom),
    "pose": _rounded(motion.pose), "blink": _rounded(motion.blink), "brow": _rounded(motion.brow), "style": style,
  }  # fmt: skip
  return TalkerClip(f"talker_{seed}_{index:05d}", render(motion, episode, style, height, width), audio, episode, truth)


def render(motion: Motion, episode: str, style: dict, height: int, width: int) -> np.ndarray:
  """Draws a motion as uint8 RGB frames [t h w 3]; the same motion may be drawn in any episode and style."""
  threads = cv2.getNumThreads()
  cv2.setNumThreads(1)  # workers scale, and no result depends on the machine's cores
  try:
    draw = _painter(episode, style["panel"], style["camera"], style["posture"], height, width)
    channels = [channel.tolist() for channel in motion]
    return np.stack([draw(*(channel[t] for channel in channels)) for t in range(len(motion.opening))])
  finally:
    cv2.setNumThreads(threads)


def still(episode: str, style: dict, height: int, width: int) -> np.ndarray:
  """The talker at rest with its mouth a little open, uint8 RGB [h w 3]."""
  one = lambda value: np.array([value], np.float32)
  motion = Motion(
    one(0.3), one(0.5), one(0.1), one(0.2), one(0), one(0), one(0), one(0.2), np.zeros((1, 3), np.float32)
  )
  return render(motion, episode, style, height, width)[0]


@functools.lru_cache(maxsize=8)
def _painter(episode, panel, camera, posture, height, width):
  """A function that draws one frame of one episode and style; everything that stands still is painted here."""
  index = EPISODES.index(episode)
  person = PEOPLE[index]
  unit = height / 128  # output pixels per unit
  scale = 2 * unit * person.zoom  # pixels of the head's picture per head unit; frames are drawn twice as large
  span = width / unit
  fine = float(np.clip(4 * unit, 2, 4))  # what stands still is painted once, at this many pixels per unit
  angle = np.radians(-_LEAN if posture == "leaning" else 0.0)
  place = np.array([span / 2 + _CAMERA[camera], _SEAT + person.lift])

  def seat(points):
    """Head units to frame units: leaned about the hip, scaled, put where the camera sees it."""
    return _turn(points, angle, (0, _HIP)) * person.zoom + place

  scene = _scene(index, panel, camera, width / height, fine)
  canvas = Canvas(0, 0, span, 128, fine)
  canvas.rgb[:], canvas.alpha[:] = scene.astype(np.float32) / 255, 1
  canvas.move = seat
  paint_body(canvas, person)
  backdrop = cv2.resize(canvas.pixels(fine)[..., :3], (2 * width, 2 * height), interpolation=cv2.INTER_AREA)
  plain = cv2.resize(backdrop, (width, height), interpolation=cv2.INTER_AREA)
  head, glasses = _head(index, scale)
  mouth, eyes = _mouth(index, scale), _eyes(index, scale)
  corner = np.array(HEAD_BOX[:2])

  # The part of the frame that the head can reach, even numbers of doubled pixels.
  reach = seat(np.array([[a, b] for a in HEAD_BOX[0::2] for b in HEAD_BOX[1::2]])) * 2 * unit
  low = np.maximum(np.floor((reach.min(0) - 8) / 2).astype(int) * 2, 0)
  high = np.minimum(np.ceil((reach.max(0) + 8) / 2).astype(int) * 2, (2 * width, 2 * height))
  grid_x, grid_y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
  pixels = (np.stack([grid_x, grid_y], -1) + 0.5) / (2 * unit)
  under = np.ascontiguousarray(backdrop[low[1] : high[1], low[0] : high[0]])

  # Where each pixel of the frame looks in the head's picture, at rest; and how that moves with turn, nod, roll and jaw.
  home = _turn((pixels - place) / person.zoom, -angle, (0, _HIP))
  x, y = home[..., 0], home[..., 1]
  f32 = lambda field: np.ascontiguousarray(field, dtype=np.float32)
  round_ = np.clip(1 - (x / 30) ** 2, 0, 1) * np.clip(1 - ((y - 2) / 46) ** 2, 0, 1)  # the middle of a face moves most
  down = f32(np.clip((y - JAW_TOP) / (JAW_END + JAW_DROP - JAW_TOP), 0, 1) * np.clip(1.25 - (x / 25) ** 2, 0, 1))
  tilt = np.stack([(y - 40), -x], -1) * np.radians(2.6)  # rolls about the neck
  base_x, base_y = f32((x - corner[0]) * scale - 0.5), f32((y - corner[1]) * scale - 0.5)
  turn_x, nod_y = f32((0.7 + 1.7 * round_) * scale), f32((0.4 + 1.3 * round_) * scale)
  roll_x, roll_y = f32(tilt[..., 0] * scale), f32(tilt[..., 1] * scale)

  def draw(opening, width_, rounding, teeth, tongue, tuck, blink, brow, pose):
    picture = head.copy()
    eyes(picture, blink, brow, corner)
    mouth(picture, opening, width_, rounding, teeth, tongue, tuck)
    if glasses is not None:
      picture = blend(picture, glasses)
    turn, nod, roll = pose
    map_x = base_x - turn * turn_x + roll * roll_x
    map_y = base_y - nod * nod_y + roll * roll_y - _jaw(down, opening) * np.float32(scale)
    warped = cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    frame = plain.copy()
    small = cv2.resize(blend(under, warped), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    frame[low[1] // 2 : high[1] // 2, low[0] // 2 : high[0] // 2] = small
    return frame

  return draw


def _jaw(down, opening):
  """How far above it each pixel finds its skin when the jaw hangs open: the inverse of the stretch below JAW_TOP."""
  drop = JAW_DROP * opening
  return np.float32(drop) * down * np.float32((JAW_END + JAW_DROP - JAW_TOP) / (JAW_END + drop - JAW_TOP))


@functools.lru_cache(maxsize=24)
def _scene(index, panel, camera, aspect, fine):
  """Room and panel, uint8 RGB [h w 3]."""
  canvas = Canvas(0, 0, 128 * aspect, 128, fine)
  paint_room(canvas, PEOPLE[index].room, 0.45 * _CAMERA[camera], 128 * aspect)
  paint_panel(canvas, panel, index, 128 * aspect)
  return canvas.pixels(fine)[..., :3]


@functools.lru_cache(maxsize=16)
def _head(index, scale):
  """The head's picture and that of its glasses (or None), uint8 RGBA."""
  fine = max(scale, 4.0)
  canvas = Canvas(*HEAD_BOX, fine)
  paint_head(canvas, PEOPLE[index])
  over = Canvas(*HEAD_BOX, fine)
  paint_glasses(over, PEOPLE[index])
  return canvas.pixels(scale), over.pixels(scale) if PEOPLE[index].glasses else None


@functools.lru_cache(maxsize=16)
def _mouth(index, scale):
  return Mouth(PEOPLE[index], scale)


@functools.lru_cache(maxsize=16)
def _eyes(index, scale):
  return Eyes(PEOPLE[index], scale)


def _say(chance, text, voice, rate, pitch):
  """The given text, or sentences until one lasts as long as a clip should."""
  if text is not None:
    return text, speak(text, voice, rate, pitch)
  for _ in range(20):
    text = make_sentence(chance)
    speech = speak(text, voice, rate, pitch)
    if 2.6 <= len(speech.audio) / SAMPLE_RATE <= 4.5:
      break
  return text, speech


def _check(episode, style, height, width):
  if episode not in EPISODES:
    raise InputError(f"episode {episode!r} is unknown to the talker; want one of {', '.join(EPISODES)}")
  for key, value in style.items():
    if value not in STYLES.get(key, ()):
      wanted = "; ".join(f"{k}: {', '.join(v)}" for k, v in STYLES.items())
      raise InputError(f"talker style {key}={value!r} is unknown; want {wanted}")
  if height < 32 or width < 24 or not 0.7 <= width / height <= 2:
    raise InputError(
      f"the talker cannot be drawn at {height}x{width}; want at least 32x24, width 0.7 to 2 times the height"
    )
  return episode, style


def _turn(points, angle, centre):
  """Points [... 2] turned about a centre by an angle in radians."""
  c, s = np.cos(angle), np.sin(angle)
  return (np.asarray(points, np.float64) - centre) @ np.array([[c, s], [-s, c]]) + centre


def _rounded(values):
  return np.round(np.asarray(values, np.float64), 4).tolist()
