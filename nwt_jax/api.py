"""Speech in, talking-person video out: what programs and notebooks call (Fig. 1, 2.3).

`NWT.from_checkpoint().generate("speech.wav").write("out.mp4")`
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from nwt_jax import build
from nwt_jax.data.splits import MEAN
from nwt_jax.errors import InputError
from nwt_jax.generate import chunks, far, mar, render, uncached
from nwt_jax.generate import style as styles
from nwt_jax.io import checkpoint, sound, video

SAMPLERS = {"far": far, "mar": mar}
CHUNK_FRAMES = 32  # frames sampled, and frames decoded, at once: more is faster on large devices, and takes more memory
STYLE_FRAMES = 96  # GAP: frames of a style clip that are looked at; the posterior averages over them
STYLE_DRAW = 2**32 - 1  # a frame number that no clip reaches, so that style and noise of one seed are independent


@dataclasses.dataclass(frozen=True)
class Chunk:
  """Consecutive frames of a generated video.

  frames: uint8 RGB [t h w 3]. codes: uint8 [t i j k], the Memcodes that they were decoded from.
  """

  frames: np.ndarray
  codes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Written:
  """What `Generation.write` wrote: path, frames, and the seconds that it took."""

  path: Path
  frames: int
  seconds: float


class NWT:
  """A prior with its dVAE, loaded once and used for any number of recordings."""

  def __init__(self, family: str, prior, prior_params, prior_card: dict, dvae, dvae_params, dvae_card: dict):
    self.family, self.card, self.dvae_card = family, prior_card, dvae_card
    self.episodes: tuple[str, ...] = tuple(prior_card["episodes"])
    size = dvae_card["video"]
    self.fps, self.height, self.width = size["fps"], size["height"], size["width"]
    if self.fps != video.FPS:
      raise InputError(f"the checkpoint is for {self.fps} frames a second; Table 7's mel goes with {video.FPS} only")
    self.prior, self.dvae = prior, dvae
    self._prior_params, self._dvae_params = jax.device_put((prior_params, dvae_params))

  @classmethod
  def from_checkpoint(cls, directory: str | Path | None = None, family: str = "mar") -> "NWT":
    """Loads a released model.

    Args: directory: folder with FAMILY.safetensors and dvae.safetensors, or a training workdir; None: the shipped
      talker. family: "mar" or "far".
    Raises: InputError: a folder without such a model, damaged files, or a prior of another dVAE.
    """
    directory = checkpoint.SHIPPED if directory is None else directory
    if family not in build.PRIORS:
      raise InputError(f"model family {family!r} cannot sample video; choose one of {', '.join(build.PRIORS)}")
    prior_params, card = checkpoint.load_release(directory, family)
    dvae_params, dvae_card = checkpoint.load_release(directory, "dvae")
    prior = build.prior(family, card["model"])
    return cls(family, prior, prior_params, card, build.dvae(dvae_card["model"]), dvae_params, dvae_card)

  def generate(
    self,
    audio: str | Path | np.ndarray | sound.Sound,
    rate: int | None = None,
    *,
    seed: int = 0,
    temperature: float | None = None,
    episode: str | None = None,
    style_seed: int | None = None,
    style_from: str | Path | np.ndarray | None = None,
    style: str | None = None,
    chunk_frames: int = CHUNK_FRAMES,
  ) -> "Generation":
    """Prepares a video for a recording; nothing is sampled before the result is iterated or written.

    Args:
      audio: a sound file of any length and rate, a Sound, or an array [samples] or [samples channels] with its `rate`.
      rate: samples per second of an array.
      seed: of the noise; the same seed gives the same video, for any `chunk_frames`.
      temperature: of sampling; 0 takes the likeliest code; None: what the checkpoint's card advises, or 1.
      episode: a name of `self.episodes`, or changes on the way: "A,B@2.5,A@5.0" (seconds); "mean": the mean embedding;
        None: the checkpoint's first.
      style_seed: draws the style, one for each episode (`generate.style.draw`); None: `seed`.
      style_from: takes the style of this video (a file, or frames uint8 [t h w 3] of the checkpoint's size) instead.
      style: changes single variates afterwards: "3=+2.0" or "3=+2.0,5=-1.0".
      chunk_frames: frames sampled at once.
    Returns: an iterable of Chunk.
    Raises: InputError: what does not fit, and the choices.
    """
    if isinstance(audio, sound.Sound):
      recording = audio
    elif isinstance(audio, str | Path):
      recording = sound.open_sound(audio)
    elif rate is None:
      raise InputError("sound given as an array needs its rate: generate(samples, rate)")
    else:
      recording = sound.from_array(audio, rate)
    if temperature is None:
      temperature = self.card.get("temperature", 1.0)
    if not (math.isfinite(temperature) and temperature >= 0):
      raise InputError(f"temperature {temperature} is not a finite number from 0 on; give 1, or 0 for the likeliest")
    if chunk_frames < 1:
      raise InputError(f"chunk_frames {chunk_frames} is less than one frame; 32 is usual")
    numbers = episode_numbers(episode, self.episodes, recording.frames, self.fps)
    if style_from is not None:
      given = isinstance(style_from, np.ndarray)
      clip = style_from if given else video.read_video(style_from, self.fps, self.height, self.width)
      variates = self.style_of(clip)
    else:
      key = jax.random.fold_in(jax.random.key(seed if style_seed is None else style_seed), STYLE_DRAW)
      variates = styles.draw_track(self.prior, self._prior_params, key, numbers)
    variates = styles.edit(variates, style) if style else variates
    return Generation(self, recording, numbers, variates, jax.random.key(seed), float(temperature), chunk_frames)

  def style_of(self, frames: np.ndarray) -> jax.Array:
    """The style of a clip: the mean of q(z_l | z) on its codes.

    DEPARTS: B.2.2 samples from the posterior; its mean copies the style with no noise and needs no seed. GAP: longer
    clips than those of training are cut into such, and their means averaged: the encoder pads, so that the posterior of
    a longer clip lies farther out.

    Args: frames: uint8 [t h w 3] of the checkpoint's size; the first STYLE_FRAMES count. Returns: float32 [1 z].
    """
    codes = jnp.asarray(self.encode(frames[:STYLE_FRAMES]), jnp.int32)
    length = min(self.card.get("frames", STYLE_FRAMES), len(codes))
    windows = codes[: len(codes) // length * length].reshape(-1, length, *codes.shape[1:])
    return jnp.mean(self._style_posterior(self._prior_params, windows), axis=0, keepdims=True)

  def encode(self, frames: np.ndarray, chunk_frames: int = CHUNK_FRAMES) -> np.ndarray:
    """The likeliest Memcodes of a video.

    Args: frames: uint8 RGB [t h w 3] of the checkpoint's size. Returns: uint8 [t i j k].
    Raises: InputError: another type or size, or no frame.
    """
    if frames.dtype != np.uint8 or frames.shape[1:] != (self.height, self.width, 3) or not len(frames):
      raise InputError(
        f"frames are {frames.dtype} {list(frames.shape)}, wanted uint8 [t, {self.height}, {self.width}, 3] with t > 0"
      )
    return self._encoder(self._dvae_params, frames[None], chunk_frames)[0]

  def decode(self, codes: np.ndarray, episode: str | None = None, chunk_frames: int = CHUNK_FRAMES) -> np.ndarray:
    """The frames of Memcodes. Args: codes: uint8 [t i j k]. episode: as in `generate`. Returns: uint8 [t h w 3]."""
    numbers = episode_numbers(episode, self.episodes, len(codes), self.fps)
    return np.concatenate(list(self._pixels([codes], numbers, chunk_frames)))

  @functools.cached_property
  def _style_posterior(self) -> Callable:
    return jax.jit(functools.partial(styles.copy, self.prior))

  @functools.cached_property
  def _encoder(self) -> Callable:
    return render.make_encoder(
      lambda params, frames, valid: self.dvae.apply(params, frames, valid, method="encode"), self.dvae.encoder_margins
    )

  @functools.cached_property
  def _decoder(self) -> Callable:
    return render.make_decoder(
      lambda params, codes, episode, valid: self.dvae.apply(params, codes, episode, valid, method="decode"),
      self.dvae.decoder_margins,
    )

  @functools.cached_property
  def _weights(self):
    return jax.jit(functools.partial(SAMPLERS[self.family].fold, self.prior))(self._prior_params)

  @functools.cache  # noqa: B019 - one compiled program per chunk size, for as long as the model is in use
  def _chunk(self, frames: int) -> Callable:
    return jax.jit(chunks.make_chunk(self.prior, SAMPLERS[self.family].sample_chunk, frames))

  @functools.cached_property
  def _redraw(self) -> Callable:
    return jax.jit(functools.partial(uncached.redraw, self.prior))

  def differences(self, job: "Generation", codes: np.ndarray) -> np.ndarray:
    """Checks a sample against the model without its caches; takes memory in proportion to the clip.

    Args: job: what `generate` returned. codes: uint8 [t i j k], all that it sampled.
    Returns: float32 [n], one number for each head symbol that comes out otherwise: how far the two best scores lie
      apart there, in nats. Rounding explains a gap under 1e-4.
    """
    again, gap = self._redraw(
      self._prior_params, jnp.asarray(codes[None], jnp.int32), job.sound.mel(0, job.frames)[None], job.style,
      job.numbers[None], job.key[None], jnp.float32(job.temperature),
    )  # fmt: skip
    return np.asarray(gap[0])[np.asarray(again[0]) != codes]

  def _codes(self, job: "Generation") -> Iterator[np.ndarray]:
    """Samples codes [t i j k] chunk by chunk; each hears as much sound around it as its conditioning looks at."""
    size, total = job.chunk_frames, job.frames
    chunk, state = self._chunk(size), SAMPLERS[self.family].init_state(self.prior, 1)
    for first in range(0, total, size):
      start, stop = first - self.prior.look_back, first + size + self.prior.look_ahead
      around = np.arange(start, stop)
      inside = ((around >= 0) & (around < total)).astype(np.float32)
      held = np.clip(around, 0, total - 1)
      codes, state = chunk(
        self._prior_params,
        self._weights,
        state,
        job.sound.mel(start, stop)[None],
        inside[None],
        job.style if job.style.ndim == 2 else job.style[:, held],
        job.numbers[held][None],
        job.key[None],
        jnp.int32(first),
        jnp.float32(job.temperature),
      )
      yield np.asarray(codes[0, : min(size, total - first)], np.uint8)

  def _pixels(self, codes: Iterable[np.ndarray], numbers: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Decodes codes [t i j k] as they come; windows overlap by the decoder's view, so that chunks leave no seam."""
    batched = (part[None] for part in codes)
    return (frames[0] for frames in self._decoder(self._dvae_params, batched, numbers[None], size))


class Generation:
  """A video that is sampled while it is read: iterate over its chunks once, or `write` it. Memory stays constant."""

  def __init__(self, model: NWT, recording: sound.Sound, numbers, style, key, temperature: float, chunk_frames: int):
    self.model, self.sound, self.numbers, self.style = model, recording, numbers, style
    self.key, self.temperature, self.chunk_frames = key, temperature, chunk_frames
    self.frames = recording.frames  # frames that cover the sound

  def __iter__(self) -> Iterator[Chunk]:
    sampled: list[np.ndarray] = []

    def remember(chunks):
      for codes in chunks:
        sampled.append(codes)
        yield codes

    codes = np.zeros((0,), np.uint8)
    for frames in self.model._pixels(remember(self.model._codes(self)), self.numbers, self.chunk_frames):
      codes = np.concatenate([*([codes] if codes.size else []), *sampled])
      sampled.clear()
      yield Chunk(frames, codes[: len(frames)])
      codes = codes[len(frames) :]

  def write(self, path: str | Path, on_chunk: Callable[[Chunk], None] | None = None) -> Written:
    """Writes the video with its sound; the file appears under its name only when it is whole.

    Args: path: an .mp4; its folder is made. on_chunk: called after each chunk, for progress or to keep codes.
    Raises: InputError: the file cannot be written.
    """
    began = time.perf_counter()
    model = self.model
    with video.VideoWriter(path, model.fps, model.height, model.width, self.sound.samples, sound.SAMPLE_RATE) as writer:
      for chunk in self:
        writer.write(chunk.frames)
        if on_chunk is not None:
          on_chunk(chunk)
    return Written(Path(path), self.frames, time.perf_counter() - began)


def episode_numbers(text: str | None, names: tuple[str, ...], frames: int, fps: int) -> np.ndarray:
  """The episode of each frame.

  Args: text: "A", "mean", or changes on the way, "A,B@2.5,A@5.0" in seconds; None: the first name. names: the
    checkpoint's episodes. frames: of the video.
  Returns: int32 [t]; -1 asks for the mean embedding.
  Raises: InputError: an unknown name, or times that do not rise within the video.
  """
  numbers = np.zeros(frames, np.int32)
  before = 0.0
  for place, part in enumerate((text or names[0]).split(",")):
    name, at, when = part.strip().rpartition("@") if "@" in part else (part.strip(), "", "0")
    if name not in names and name != MEAN:
      raise InputError(f"unknown episode {name!r}; choose from {', '.join(names)}, or {MEAN}")
    try:
      seconds = float(when)
    except ValueError:
      seconds = math.nan
    if place and not (at and before < seconds < frames / fps):
      raise InputError(
        f"episode change {part.strip()!r} needs a time after {before:g} s and before the end at {frames / fps:.2f} s, "
        "as in A,B@2.5"
      )
    if not place and seconds != 0:
      raise InputError(f"the first episode {part.strip()!r} starts the video; give it without a time, as in A,B@2.5")
    numbers[math.ceil(seconds * fps - 1e-6) :] = -1 if name == MEAN else names.index(name)
    before = seconds
  return numbers
