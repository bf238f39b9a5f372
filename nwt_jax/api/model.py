"""NWT, the model for programs and notebooks: speech in, talking-person video out (Fig. 1, 2.3).

`NWT.from_checkpoint().generate("speech.wav").write("out.mp4")`
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nwt_jax import build
from nwt_jax.api import episodes as request
from nwt_jax.api.video import Generation, Latency, Stream, VideoFormat
from nwt_jax.errors import InputError
from nwt_jax.generate import style as styles
from nwt_jax.generate import verify
from nwt_jax.generate.options import SamplingOptions, sampling_options
from nwt_jax.generate.render import Codec
from nwt_jax.generate.sampler import Sampler
from nwt_jax.generate.session import Chunk, Session
from nwt_jax.io import audio_stream, release, video
from nwt_jax.models.dvae import DVAE
from nwt_jax.models.prior import Prior

CHUNK_FRAMES = 32  # frames sampled, and frames decoded, at once: more is faster on large devices, and takes more memory
STYLE_FRAMES = 96  # GAP: frames of a style clip that are encoded; the posterior averages over them
STYLE_DRAW = 2**32 - 1  # a frame number that no clip reaches, so that style and noise of one seed are independent


class NWT:
  """A prior with its dVAE, loaded once and used for any number of recordings; or a dVAE alone, to encode and decode."""

  def __init__(
    self,
    family: str,
    prior: Prior | None,
    prior_params,
    prior_card: dict,
    dvae: DVAE,
    dvae_params,
    dvae_card: dict,
    options: SamplingOptions,
  ):
    self.family, self.card, self.dvae_card, self.options = family, prior_card, dvae_card, options
    self.episodes: tuple[str, ...] = tuple(prior_card["episodes"])
    size = dvae_card["video"]
    self.fps, self.height, self.width = size["fps"], size["height"], size["width"]
    if self.fps != video.FPS:
      raise InputError(f"the checkpoint is for {self.fps} frames a second; Table 7's mel goes with {video.FPS} only")
    self.prior, self.dvae = prior, dvae
    self.prior_params, self.dvae_params = jax.device_put((prior_params, dvae_params))
    self._codec = Codec(dvae, self.dvae_params, options.dtype)
    self._sampler = None if prior is None else Sampler(family, prior, self.prior_params, self._codec, options)

  @classmethod
  def from_checkpoint(
    cls,
    directory: str | Path | None = None,
    family: str = "mar",
    *,
    precision: str = "float32",
    positions: int | None = None,
    places: int | None = None,
  ) -> "NWT":
    """Loads a released model.

    Args: directory: folder with FAMILY.safetensors and dvae.safetensors, or a training workdir; None: the shipped
      talker. family: "mar" or "far". precision: type of the decoders, "float32" or "bfloat16"; the second is faster
      on GPUs and TPUs, and draws other samples. positions: how many consecutive Memcodes MAR draws together, which
      changes speed alone (but for rounding, as in `generate_many`); 1 draws them one after the other; None: a number
      that suits the device (`generate.options`). places: an older name of `positions`.
    Raises: InputError: a folder without such a model, damaged files, a prior of another dVAE, or no such precision.
    """
    options = sampling_options(precision=precision, positions=places if positions is None else positions)
    directory = release.SHIPPED if directory is None else directory
    if family not in build.PRIORS:
      raise InputError(f"model family {family!r} cannot sample video; choose one of {', '.join(build.PRIORS)}")
    prior_params, card = release.load_release(directory, family)
    dvae_params, dvae_card = release.load_release(directory, "dvae")
    prior = build.prior(family, card["model"])
    return cls(family, prior, prior_params, card, build.dvae(dvae_card["model"]), dvae_params, dvae_card, options)

  @classmethod
  def from_dvae(cls, directory: str | Path | None = None) -> "NWT":
    """Loads a dVAE alone, for `encode` and `decode`.

    Args: directory: see `from_checkpoint`; it may be a workdir of stage 1. Raises: see there."""
    params, card = release.load_release(release.SHIPPED if directory is None else directory, "dvae")
    return cls("dvae", None, {}, card, build.dvae(card["model"]), params, card, sampling_options())

  def generate(
    self,
    audio: str | Path | np.ndarray | audio_stream.AudioSource,
    rate: int | None = None,
    *,
    seed: int = 0,
    temperature: float | None = None,
    episode: str | None = None,
    style_seed: int | None = None,
    style_from: str | Path | np.ndarray | None = None,
    style: str | None = None,
    chunk_frames: int = CHUNK_FRAMES,
  ) -> Generation:
    """Prepares a video for a recording; nothing is sampled before the result is iterated or written.

    Args:
      audio: a sound file of any length and rate, an AudioSource, or an array [samples] or [samples channels] with its
        `rate`: floats in about [-1, 1] or 16-bit integers, of at most eight channels, which are mixed (`io.downmix`).
      rate: samples per second of an array.
      seed: seeds the noise; the same seed gives the same video, for any `chunk_frames`.
      temperature: divides the logits; 0 takes the likeliest code; None: the value in the checkpoint's card, or 1.
      episode: a name of `self.episodes`, or changes on the way: "A,B@2.5,A@5.0" (seconds); "mean": the mean embedding;
        None: the checkpoint's first.
      style_seed: draws the style, one for each episode where the checkpoint has styles of training clips, else one for
        all (`generate.style.draw`); None: `seed`.
      style_from: takes the style of this video (a file, or frames uint8 [t h w 3] of the checkpoint's size) instead.
      style: changes single variates afterwards: "3=+2.0" or "3=+2.0,5=-1.0".
      chunk_frames: frames sampled at once.
    Returns: an iterable of Chunk.
    Raises: InputError: names what does not fit, and the choices.
    """
    self._check_prior()
    if isinstance(audio, audio_stream.AudioSource):
      recording = audio
    elif isinstance(audio, str | Path):
      recording = audio_stream.open_sound(audio)
    elif rate is None:
      raise InputError("sound given as an array needs its rate: generate(samples, rate)")
    else:
      recording = audio_stream.from_array(audio, rate)
    if temperature is None:
      temperature = self.card.get("temperature", 1.0)
    asked = {"temperature": temperature, "chunk_frames": chunk_frames, "episode": episode, "style": style}
    episodes = request.check(self.card, self.fps, recording.frames if recording.ended else None, **asked)
    if style_from is not None:
      given = isinstance(style_from, np.ndarray)
      variates = self.style_of(style_from if given else self._style_clip(style_from))
    else:
      key = jax.random.fold_in(jax.random.key(seed if style_seed is None else style_seed), STYLE_DRAW)
      variates = styles.draw_track(self.prior, self.prior_params, key, episodes.numbers)  # ty: ignore[invalid-argument-type]
    variates = styles.edit(variates, style) if style else variates
    return Generation(
      recording,
      episodes,
      variates,
      jax.random.key(seed),
      float(temperature),
      chunk_frames,
      self._sampler,  # ty: ignore[invalid-argument-type]
      self._format,
    )

  def stream(self, rate: int | None, **options: Any) -> Stream:
    """Prepares a video of sound that is still arriving; its frames equal those that `generate` makes of all the sound.

    One case differs: where two channels cancel, which only the whole recording shows, `generate` takes one of them, and
    a stream logs a warning and goes on mixing.

    With a small `chunk_frames` frames come sooner (`latency`). The first chunk of a size waits for the compiler: let a
    second of silence through another stream of that size before the sound comes.

    Args: rate: samples per second. options: keyword arguments of `generate`.
    Raises: InputError: see `generate`; or a rate that is not positive."""
    return Stream(self.generate(audio_stream.LiveAudio(rate), **options))

  def generate_many(self, jobs: Sequence[Generation], at_once: int = 16) -> Iterator[tuple[int, Chunk]]:
    """Samples many clips, several at once, which a large device does in little more time than one.

    Each clip has its own noise, so that it comes out as if sampled alone, but for rounding: products of another shape
    are summed in another order, and a near-tie of two codes (1e-4 nats in float32) may go the other way.

    Args: jobs: results of this model's `generate`, with one temperature and one `chunk_frames`. at_once: number of
      clips in a batch; clips of like length go together, and a clip that has ended is computed on until the longest of
      its batch has ended; its surplus frames are not returned.
    Returns: (index in jobs, its next frames) as they are sampled.
    Raises: InputError: several temperatures or sizes of chunk, another model's job, or `at_once` under 1."""
    jobs = list(jobs)
    if any(job.sampler is not self._sampler for job in jobs):
      raise InputError("a clip was prepared by another model; give what `generate` of this one returned")
    for name in ("temperature", "chunk_frames"):
      if len(found := sorted({getattr(job, name) for job in jobs})) > 1:
        raise InputError(f"clips of several values of {name} ({', '.join(map(str, found))}); give all of them one")
    if at_once < 1:
      raise InputError(f"at_once {at_once} is less than one clip; 16 is usual")
    order = sorted(range(len(jobs)), key=lambda index: -jobs[index].frames)
    groups = [order[first : first + at_once] for first in range(0, len(order), at_once)]
    sessions = (Session(self._sampler, [jobs[index] for index in group], jobs[0].chunk_frames) for group in groups)  # ty: ignore[invalid-argument-type]
    return ((group[n], chunk) for group, one in zip(groups, sessions, strict=True) for n, chunk in one.chunks())

  def latency(self, chunk_frames: int = CHUNK_FRAMES, rate: int = audio_stream.SAMPLE_RATE) -> Latency:
    """Returns how far a stream's frames lag behind its sound, without the time for computing."""
    self._check_prior()
    frame = 1000 / self.fps
    return Latency(
      chunk=(chunk_frames - 1) * frame,
      audio=self.prior.look_ahead * frame,  # ty: ignore[missing-union-attribute]
      decoder=self.dvae.decoder_margins[1] * frame,
      mel=1000 * audio_stream.MEL_AHEAD / audio_stream.SAMPLE_RATE,
      resampling=1000 * audio_stream.resampling_lag(rate),
    )

  def _check_prior(self) -> None:
    if self.prior is None:
      raise InputError("a dVAE alone encodes and decodes, and samples nothing; load a prior, family mar or far")

  def _style_clip(self, path: str | Path) -> np.ndarray:
    """Reads the frames of a video that `style_of` encodes, however long it is. Returns: uint8 [t h w 3]."""
    seconds = STYLE_FRAMES / self.fps + 1  # with a second more, the last that counts is as in the whole video
    return video.read_video(path, self.fps, self.height, self.width, length=seconds)[:STYLE_FRAMES]

  def style_of(self, frames: np.ndarray) -> jax.Array:
    """Encodes the style of a clip: the mean of q(z_l | z) on its codes, which `generate.style.copy` computes.

    DEPARTS: B.2.2 samples from the posterior; its mean copies the style with no noise and needs no seed. GAP: longer
    clips than those of training are cut into such, and their means averaged: the encoder pads, so that the posterior of
    a longer clip lies farther out. Memcodes are drawn as in the prior's training data (`generate.style.reading_key`).

    Args: frames: uint8 [t h w 3] of the checkpoint's size; the first STYLE_FRAMES count. Returns: float32 [1 z].
    """
    self._check_prior()
    codes = self.encode(frames[:STYLE_FRAMES], key=styles.reading_key(self.card.get("sampler")))
    codes = jnp.asarray(codes, jnp.int32)
    length = min(self.card.get("frames", STYLE_FRAMES), len(codes))
    parts = codes[: len(codes) // length * length].reshape(-1, length, *codes.shape[1:])
    return jnp.mean(self._style_posterior(self.prior_params, parts), axis=0, keepdims=True)

  def encode(self, frames: np.ndarray, chunk_frames: int = CHUNK_FRAMES, key: jax.Array | None = None) -> np.ndarray:
    """Encodes a video. Returns: its Memcodes, uint8 [t i j k].

    Args: frames: uint8 RGB [t h w 3] of the checkpoint's size. chunk_frames: frames encoded at once. key: draws the
      Memcodes, as tokenize does; None: the likeliest.
    Raises: InputError: another type or size, or no frame.
    """
    if frames.dtype != np.uint8 or frames.shape[1:] != (self.height, self.width, 3) or not len(frames):
      raise InputError(
        f"frames are {frames.dtype} {list(frames.shape)}, wanted uint8 [t, {self.height}, {self.width}, 3] with t > 0"
      )
    return self._codec.encode(frames[None], chunk_frames, key)[0]

  def decode(self, codes: np.ndarray, episode: str | None = None, chunk_frames: int = CHUNK_FRAMES) -> np.ndarray:
    """Decodes Memcodes to frames. Args: codes: uint8 [t i j k]. episode: as in `generate`. Returns: uint8 [t h w 3]."""
    numbers = request.Episodes.parse(episode, self.episodes, self.fps, len(codes)).at(np.arange(len(codes)))
    return self._codec.decode(codes[None], numbers[None], chunk_frames)[0]

  @property
  def _format(self) -> VideoFormat:
    return VideoFormat(self.fps, self.height, self.width)

  @property
  def device(self) -> str:
    """Kind of the device that sampling runs on."""
    return jax.devices()[0].device_kind

  @functools.cached_property
  def _style_posterior(self) -> Callable:
    return jax.jit(functools.partial(styles.copy, self.prior))  # ty: ignore[invalid-argument-type]

  @functools.cached_property
  def _resample(self) -> Callable:
    return jax.jit(functools.partial(verify.resample, self.prior))  # ty: ignore[invalid-argument-type]

  def mismatches(self, job: Generation, codes: np.ndarray) -> np.ndarray:
    """Checks a sample against the model without its caches; takes memory in proportion to the clip.

    Args: job: a result of `generate`. codes: uint8 [t i j k], all that it sampled.
    Returns: float32 [n], one number for each code that comes out otherwise (`generate.verify`): the gap between the two
      best scores, in nats. Rounding explains a gap under 1e-4, for a model in float32.
    """
    again, gap = self._resample(
      self.prior_params, jnp.asarray(codes[None], jnp.int32), job.sound.mel(0, job.frames)[None], job.style,
      job.numbers[None], job.key[None], jnp.float32(job.temperature),
    )  # fmt: skip
    return np.asarray(gap[0])[np.asarray(again[0]) != codes]
