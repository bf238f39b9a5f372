"""Speech in, talking-person video out: what programs and notebooks call (Fig. 1, 2.3).

`NWT.from_checkpoint().generate("speech.wav").write("out.mp4")`
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from nwt_jax import build
from nwt_jax.api import episodes as request
from nwt_jax.api.video import Generation, Latency, Stream
from nwt_jax.errors import InputError
from nwt_jax.generate import chunks, far, mar, render, verify
from nwt_jax.generate import style as styles
from nwt_jax.generate.options import Settings, configure
from nwt_jax.generate.session import Chunk, Run
from nwt_jax.io import audio_stream, release, video

SAMPLERS = {"far": far, "mar": mar}
CHUNK_FRAMES = 32  # frames sampled, and frames decoded, at once: more is faster on large devices, and takes more memory
STYLE_FRAMES = 96  # GAP: frames of a style clip that are looked at; the posterior averages over them
STYLE_DRAW = 2**32 - 1  # a frame number that no clip reaches, so that style and noise of one seed are independent


class NWT:
  """A prior with its dVAE, loaded once and used for any number of recordings; or a dVAE alone, to encode and decode."""

  def __init__(
    self, family: str, prior, prior_params, prior_card: dict, dvae, dvae_params, dvae_card: dict, settings: Settings
  ):
    self.family, self.card, self.dvae_card, self.settings = family, prior_card, dvae_card, settings
    self.episodes: tuple[str, ...] = tuple(prior_card["episodes"])
    size = dvae_card["video"]
    self.fps, self.height, self.width = size["fps"], size["height"], size["width"]
    if self.fps != video.FPS:
      raise InputError(f"the checkpoint is for {self.fps} frames a second; Table 7's mel goes with {video.FPS} only")
    self.prior, self.dvae = prior, dvae
    self.prior_params, self.dvae_params = jax.device_put((prior_params, dvae_params))

  @classmethod
  def from_checkpoint(
    cls,
    directory: str | Path | None = None,
    family: str = "mar",
    *,
    precision: str = "float32",
    places: int | None = None,
  ) -> "NWT":
    """Loads a released model.

    Args: directory: folder with FAMILY.safetensors and dvae.safetensors, or a training workdir; None: the shipped
      talker. family: "mar" or "far". precision: of the decoders, "float32" or "bfloat16"; the second is faster on
      GPUs and TPUs, and draws other samples. places: Memcodes that MAR draws together, which changes speed alone
      (but for rounding, as in `generate_many`); 1 draws them in turn; None: what suits the device.
    Raises: InputError: a folder without such a model, damaged files, a prior of another dVAE, or no such precision.
    """
    settings = configure(precision=precision, places=places)
    directory = release.SHIPPED if directory is None else directory
    if family not in build.PRIORS:
      raise InputError(f"model family {family!r} cannot sample video; choose one of {', '.join(build.PRIORS)}")
    prior_params, card = release.load_release(directory, family)
    dvae_params, dvae_card = release.load_release(directory, "dvae")
    prior = build.prior(family, card["model"])
    return cls(family, prior, prior_params, card, build.dvae(dvae_card["model"]), dvae_params, dvae_card, settings)

  @classmethod
  def from_dvae(cls, directory: str | Path | None = None) -> "NWT":
    """Loads a dVAE alone, for `encode` and `decode`. Args, Raises: as of `from_checkpoint`; or a workdir of stage 1."""
    params, card = release.load_release(release.SHIPPED if directory is None else directory, "dvae")
    return cls("dvae", None, {}, card, build.dvae(card["model"]), params, card, configure())

  def generate(
    self,
    audio: str | Path | np.ndarray | audio_stream.Sound,
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
      audio: a sound file of any length and rate, a Sound, or an array [samples] or [samples channels] with its `rate`:
        floats in about [-1, 1] or 16-bit integers, of at most eight channels, which are mixed (`io.downmix`).
      rate: samples per second of an array.
      seed: of the noise; the same seed gives the same video, for any `chunk_frames`.
      temperature: of sampling; 0 takes the likeliest code; None: what the checkpoint's card advises, or 1.
      episode: a name of `self.episodes`, or changes on the way: "A,B@2.5,A@5.0" (seconds); "mean": the mean embedding;
        None: the checkpoint's first.
      style_seed: draws the style, one for each episode where the checkpoint has styles of training clips, else one for
        all (`generate.style.draw`); None: `seed`.
      style_from: takes the style of this video (a file, or frames uint8 [t h w 3] of the checkpoint's size) instead.
      style: changes single variates afterwards: "3=+2.0" or "3=+2.0,5=-1.0".
      chunk_frames: frames sampled at once.
    Returns: an iterable of Chunk.
    Raises: InputError: what does not fit, and the choices.
    """
    self._check_prior()
    if isinstance(audio, audio_stream.Sound):
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
      variates = self.style_of(style_from if given else self.style_clip(style_from))
    else:
      key = jax.random.fold_in(jax.random.key(seed if style_seed is None else style_seed), STYLE_DRAW)
      variates = styles.draw_track(self.prior, self.prior_params, key, episodes.numbers)
    variates = styles.edit(variates, style) if style else variates
    return Generation(recording, episodes, variates, jax.random.key(seed), float(temperature), chunk_frames, self)

  def stream(self, rate: int | None, **options) -> Stream:
    """A video of sound that is still arriving, frame for frame what `generate` makes of all of it (where two channels
    cancel, which the whole alone tells, `generate` takes one of them, and a stream warns and mixes on).

    A small `chunk_frames` comes sooner (`latency`). The first chunk of a size waits for the compiler: let a second of
    silence through another stream of that size before the sound comes.

    Args: rate: samples per second. options: as of `generate`.
    Raises: InputError: as `generate`, or a rate that is not positive."""
    return Stream(self.generate(audio_stream.Live(rate), **options))

  def generate_many(self, jobs: Sequence[Generation], at_once: int = 16) -> Iterator[tuple[int, Chunk]]:
    """Samples many clips, several at once, which a large device does in little more time than one.

    A clip's noise is its own, so that it comes out as alone, but for rounding: products of another shape are summed in
    another order, and a near-tie of two codes (1e-4 nats in float32) may go the other way.

    Args: jobs: what this model's `generate` prepared, with one temperature and one `chunk_frames`. at_once: clips;
      those of like length go together, and a clip that has ended is computed, unseen, until the longest beside it has.
    Returns: (place in jobs, its next frames) as they come.
    Raises: InputError: several temperatures or sizes of chunk, another model's job, or `at_once` under 1."""
    jobs = list(jobs)
    if any(job.model is not self for job in jobs):
      raise InputError("a clip was prepared by another model; give what `generate` of this one returned")
    for name in ("temperature", "chunk_frames"):
      if len(found := sorted({getattr(job, name) for job in jobs})) > 1:
        raise InputError(f"clips of several values of {name} ({', '.join(map(str, found))}); give all of them one")
    if at_once < 1:
      raise InputError(f"at_once {at_once} is less than one clip; 16 is usual")
    order = sorted(range(len(jobs)), key=lambda place: -jobs[place].frames)
    groups = [order[first : first + at_once] for first in range(0, len(order), at_once)]
    runs = (self.run([jobs[place] for place in group]).chunks() for group in groups)
    return ((group[clip], chunk) for group, run in zip(groups, runs, strict=True) for clip, chunk in run)

  def latency(self, chunk_frames: int = CHUNK_FRAMES, rate: int = audio_stream.SAMPLE_RATE) -> Latency:
    """How far a stream's frames lag behind its sound, computing apart."""
    self._check_prior()
    frame = 1000 / self.fps
    return Latency(
      chunk=(chunk_frames - 1) * frame,
      audio=self.prior.look_ahead * frame,
      decoder=self.dvae.decoder_margins[1] * frame,
      mel=1000 * audio_stream.MEL_AHEAD / audio_stream.SAMPLE_RATE,
      resampling=1000 * audio_stream.resampling_lag(rate),
    )

  def _check_prior(self) -> None:
    if self.prior is None:
      raise InputError("a dVAE alone encodes and decodes, and samples nothing; load a prior, family mar or far")

  def style_clip(self, path: str | Path) -> np.ndarray:
    """The frames of a video that `style_of` looks at, however long it is. Returns: uint8 [t h w 3]."""
    seconds = STYLE_FRAMES / self.fps + 1  # with a second more, the last that counts is as in the whole video
    return video.read_video(path, self.fps, self.height, self.width, length=seconds)[:STYLE_FRAMES]

  def style_of(self, frames: np.ndarray) -> jax.Array:
    """The style of a clip: the mean of q(z_l | z) on its codes.

    DEPARTS: B.2.2 samples from the posterior; its mean copies the style with no noise and needs no seed. GAP: longer
    clips than those of training are cut into such, and their means averaged: the encoder pads, so that the posterior of
    a longer clip lies farther out. Memcodes are read as the prior learned them (`generate.style.reading_key`).

    Args: frames: uint8 [t h w 3] of the checkpoint's size; the first STYLE_FRAMES count. Returns: float32 [1 z].
    """
    self._check_prior()
    codes = self.encode(frames[:STYLE_FRAMES], key=styles.reading_key(self.card.get("sampler")))
    codes = jnp.asarray(codes, jnp.int32)
    length = min(self.card.get("frames", STYLE_FRAMES), len(codes))
    windows = codes[: len(codes) // length * length].reshape(-1, length, *codes.shape[1:])
    return jnp.mean(self._style_posterior(self.prior_params, windows), axis=0, keepdims=True)

  def encode(self, frames: np.ndarray, chunk_frames: int = CHUNK_FRAMES, key: jax.Array | None = None) -> np.ndarray:
    """The Memcodes of a video, uint8 [t i j k].

    Args: frames: uint8 RGB [t h w 3] of the checkpoint's size. key: draws them, as tokenize does; None: the likeliest.
    Raises: InputError: another type or size, or no frame.
    """
    if frames.dtype != np.uint8 or frames.shape[1:] != (self.height, self.width, 3) or not len(frames):
      raise InputError(
        f"frames are {frames.dtype} {list(frames.shape)}, wanted uint8 [t, {self.height}, {self.width}, 3] with t > 0"
      )
    return self._encoder(self.dvae_params, frames[None], chunk_frames, key)[0]

  def decode(self, codes: np.ndarray, episode: str | None = None, chunk_frames: int = CHUNK_FRAMES) -> np.ndarray:
    """The frames of Memcodes. Args: codes: uint8 [t i j k]. episode: as in `generate`. Returns: uint8 [t h w 3]."""
    numbers = request.Episodes.parse(episode, self.episodes, self.fps, len(codes)).at(np.arange(len(codes)))
    decoder = render.make_decoder(self._draw, self.dvae.decoder_margins)
    return decoder(self._decoder_params, codes[None], numbers[None], chunk_frames)[0]

  @property
  def device(self) -> str:
    """What sampling runs on."""
    return jax.devices()[0].device_kind

  @functools.cached_property
  def _style_posterior(self) -> Callable:
    return jax.jit(functools.partial(styles.copy, self.prior))

  @functools.cached_property
  def _encoder(self) -> Callable:
    return render.make_encoder(
      lambda params, frames, valid: self.dvae.apply(params, frames, valid, method="encode"), self.dvae.encoder_margins
    )

  @functools.cached_property
  def _draw(self) -> Callable:
    decode = lambda params, codes, episode, valid: self.dvae.apply(
      params, codes, episode, valid.astype(self.settings.dtype), method="decode"
    )
    return render.make_draw(decode, self.dvae.decoder_margins)

  @functools.cached_property
  def _decoder_params(self):
    cast = lambda tree: jax.tree.map(lambda x: x.astype(self.settings.dtype), tree)
    return self.dvae_params if self.settings.dtype == jnp.float32 else jax.jit(cast)(self.dvae_params)

  @functools.cached_property
  def _block(self) -> dict:
    """What MAR alone takes: places in a block, at most."""
    places = self.settings.places
    return {} if self.family == "far" else {"most": places if places > 1 else mar.BLOCK}

  @functools.cached_property
  def _weights(self):
    sampler, dtype = SAMPLERS[self.family], self.settings.dtype
    return jax.jit(functools.partial(sampler.fold, self.prior, dtype=dtype, **self._block))(self.prior_params)

  @functools.cache  # noqa: B019 - one compiled program per chunk size, for as long as the model is in use
  def _chunk(self, frames: int) -> Callable:
    sample = SAMPLERS[self.family].sample_chunk
    if self.family == "mar":
      sample = functools.partial(sample, parallel=self.settings.places > 1)
    options = dict(self.settings.compiler_options)
    return jax.jit(chunks.make_chunk(self.prior, sample, frames), compiler_options=options)

  def _start(self, clips: int):
    """The state of sampling before the first frame."""
    return SAMPLERS[self.family].init_state(self.prior, clips, self.settings.dtype, **self._block)

  @functools.cached_property
  def _redraw(self) -> Callable:
    return jax.jit(functools.partial(verify.redraw, self.prior))

  def differences(self, job: Generation, codes: np.ndarray) -> np.ndarray:
    """Checks a sample against the model without its caches; takes memory in proportion to the clip.

    Args: job: what `generate` returned. codes: uint8 [t i j k], all that it sampled.
    Returns: float32 [n], one number for each head symbol that comes out otherwise: how far the two best scores lie
      apart there, in nats. Rounding explains a gap under 1e-4, for a model in float32.
    """
    again, gap = self._redraw(
      self.prior_params, jnp.asarray(codes[None], jnp.int32), job.sound.mel(0, job.frames)[None], job.style,
      job.numbers[None], job.key[None], jnp.float32(job.temperature),
    )  # fmt: skip
    return np.asarray(gap[0])[np.asarray(again[0]) != codes]

  def run(self, clips: Sequence[Generation]) -> Run:
    """The clips side by side, each as far as its sound has come: what all of the above iterate."""
    return Run(
      clips,
      clips[0].chunk_frames,
      self.prior.reach,
      self.dvae.decoder_margins,
      functools.partial(self._chunk(clips[0].chunk_frames), self.prior_params, self._weights),
      functools.partial(self._draw, self._decoder_params),
      self._start(len(clips)),
      (*self.prior.grid, self.prior.num_heads),
    )
