"""How the ways to sample differ, on long clips: in float32 by near-ties that are counted, in bfloat16 by how much.

  python -m benchmarks.equality --json=benchmarks/results/equality.json
  python -m benchmarks.equality --checkpoint=runs/mine/mar --audio=speech.wav

Clips are sampled by the plain cached scan, the reference, and by every other way. What a clip's first difference says
counts: after it the two are different clips. There the reference's scores (logits and noise, in nats) of the two best
codes are compared: rounding can only explain a difference where they nearly tie.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from einops import rearrange

from benchmarks import baselines, timing
from nwt_jax import cli
from nwt_jax.api import NWT
from nwt_jax.generate import mar
from nwt_jax.generate.noise import frame_noise
from nwt_jax.io import audio_stream
from nwt_jax.io.progress import Progress
from nwt_jax.sample import SHIPPED_AUDIO

TIE = 1e-4  # nats
CHUNK = 30  # frames


def define_flags() -> None:
  """Defines this program's options; in a function, so that others can import the file beside their own."""
  flags.DEFINE_string("json", None, "JSON file to write.")
  flags.DEFINE_string("checkpoint", None, "MAR's workdir or release; without: the shipped talker.")
  flags.DEFINE_string("audio", str(SHIPPED_AUDIO), "Speech, repeated to the length of a clip.")
  flags.DEFINE_integer("clips", 10, "Clips.", lower_bound=1)
  flags.DEFINE_integer("seconds", 10, "Length of each.", lower_bound=1)


class Clips:
  """Requests of one length: every clip hears the speech from another place on, with a seed of its own.

  Attributes: params: the prior's variables. condition: of all clips, [b t p f] a block. keys: [b].
  """

  def __init__(self, model: NWT, speech: str, count: int, seconds: int):
    samples = audio_stream.open_sound(speech).samples
    long = np.resize(samples, seconds * audio_stream.SAMPLE_RATE)
    shift = len(samples) // count
    jobs = [model.generate(np.roll(long, -n * shift), audio_stream.SAMPLE_RATE, seed=n) for n in range(count)]
    self.model, self.params, self.count, self.frames = model.prior, model.prior_params, count, jobs[0].frames
    self.keys, self.temperature = jnp.stack([job.key for job in jobs]), jnp.float32(jobs[0].temperature)
    self.fps = model.fps
    self.inputs = (
      jnp.stack([job.sound.mel(0, self.frames) for job in jobs]),
      jnp.concatenate([job.styles for job in jobs]),
      jnp.stack([job.episodes.at(np.arange(self.frames)) for job in jobs]).astype(jnp.int32),
    )
    self.condition = jax.jit(functools.partial(self.model.apply, method="condition"))(self.params, *self.inputs)

  def one(self, n: int):
    """Conditions and keys of a clip by itself."""
    return tuple(c[n : n + 1] for c in self.condition), self.keys[n : n + 1]

  def sample(self, step, weights, state, n: int | None, chunk: int = CHUNK) -> np.ndarray:
    """Codes [b t i j k] of clip n, or of all. Args: step: sample_chunk of the model."""
    condition, keys = (self.condition, self.keys) if n is None else self.one(n)
    parts = []
    for first in range(0, self.frames, chunk):
      now = tuple(c[:, first : first + chunk] for c in condition)
      codes, state = step(weights, state, now, keys, jnp.int32(first), self.temperature)
      parts.append(np.asarray(codes))
    return np.concatenate(parts, axis=1)


def ways(clips: Clips) -> dict:
  """Every way to sample: a function that gives clip n's codes [t i j k]."""
  model = clips.model

  @functools.cache
  def weights(most):
    return jax.jit(functools.partial(mar.fold, model, most=most))(clips.params)

  def ours(parallel=True, most=8, chunk=CHUNK):
    step = jax.jit(functools.partial(mar.sample_chunk, model, parallel=parallel))
    return lambda n: clips.sample(step, weights(most), mar.init_state(model, 1, most=most), n, chunk)[0]

  @functools.cache
  def batch():
    step = jax.jit(functools.partial(mar.sample_chunk, model))
    return clips.sample(step, weights(8), mar.init_state(model, clips.count, most=8), None)

  plain = baselines.program("plain", model)
  return {
    "plain": lambda n: clips.sample(plain, clips.params, baselines.plain_state(model, 1), n)[0],
    "in turn, taps early": ours(parallel=False),
    "8 together": ours(),
    "56 together": ours(most=56),
    "8 together, chunks of 7 frames": ours(chunk=7),
    "8 together, clips in a batch": lambda n: batch()[n],
  }


def drawn_again(clips: Clips, n: int, codes: np.ndarray, dtype=jnp.float32) -> tuple[np.ndarray, np.ndarray]:
  """What the decoder draws after every prefix of a clip, without a cache, and how far its two best scores lie apart."""

  def draw(params, condition, keys, codes):
    model = clips.model
    flat = rearrange(codes, "t i j k -> 1 (t i j) k")
    previous = jnp.pad(flat[:, :-1], ((0, 0), (1, 0), (0, 0)), constant_values=model.num_codes)
    params, told = jax.tree.map(lambda x: x.astype(dtype), (params, condition))
    told = tuple(rearrange(c, "b t p f -> b (t p) f") for c in told)
    logits, _ = model.apply(params, None, previous, told, 0, method="window")
    shape = (*model.grid, model.num_heads, model.num_codes)
    noise = jax.vmap(lambda t: frame_noise(keys, t, shape)[0])(jnp.arange(len(codes)))
    scores = logits[0] + clips.temperature * rearrange(noise, "t i j k n -> (t i j) k n")
    best, place = jax.lax.top_k(scores, 2)
    return place[..., 0].astype(jnp.uint8), best[..., 0] - best[..., 1]

  again, gap = jax.jit(draw)(clips.params, *clips.one(n), jnp.asarray(codes, jnp.int32))
  return np.asarray(again).reshape(codes.shape), np.asarray(gap, np.float32).reshape(codes.shape)


def first_difference(codes: np.ndarray, other: np.ndarray) -> tuple[int, ...] | None:
  """Where two samples part: (frame, row, column, head), in the order in which Memcodes are drawn."""
  places = np.argwhere(codes != other)
  return tuple(int(x) for x in places[0]) if len(places) else None


def compare(clips: Clips) -> dict:
  """For each way the clips that differ, and the gap at each first difference; then one clip's bfloat16."""
  made, found = ways(clips), {}
  bar = Progress("equality", clips.count, "clips")
  for n in range(clips.count):
    reference = made["plain"](n)
    again, gap = drawn_again(clips, n, reference)
    parts = {name: first_difference(reference, way(n)) for name, way in made.items() if name != "plain"}
    uncached_parts = [tuple(int(x) for x in place) for place in np.argwhere(reference != again)]
    for name, where in [*parts.items(), *(("without a cache", place) for place in uncached_parts)]:
      if where is not None:
        entry = {"clip": n, "frame": where[0], "gap": float(gap[where])}
        found.setdefault(name, []).append(entry)
    for name in [*parts, "without a cache"]:
      found.setdefault(name, [])
    if n == 0:
      rough = in_bfloat16(clips, reference, gap)
    bar.step()
  codes = int(np.prod(reference.shape)) * clips.count
  return {
    "codes": codes,
    "clips": clips.count,
    "seconds": clips.frames / clips.fps,
    "differences": {name: sorted(entries, key=lambda e: e["clip"]) for name, entries in found.items()},
    "all near-ties": all(e["gap"] < TIE for entries in found.values() for e in entries),
    "bfloat16": rough,
  }


def in_bfloat16(clips: Clips, reference: np.ndarray, gap: np.ndarray) -> dict:
  """The same prefixes, by the model as it is trained, with products in bfloat16.

  Returns: how many codes come out otherwise, and how close their scores were."""
  again, _ = drawn_again(clips, 0, reference, jnp.bfloat16)
  differs = again != reference
  return {
    "share of codes that differ": float(differs.mean()),
    "median gap where they differ": float(np.median(gap[differs])) if differs.any() else None,
    "90 % of them below": float(np.quantile(gap[differs], 0.9)) if differs.any() else None,
    "median gap of all": float(np.median(gap)),
  }


def main(_) -> None:
  path = timing.writable(flags.FLAGS.json)
  model = NWT.from_checkpoint(flags.FLAGS.checkpoint, "mar")
  results = {
    "machine": timing.machine(),
    **compare(Clips(model, flags.FLAGS.audio, flags.FLAGS.clips, flags.FLAGS.seconds)),
  }
  print(json.dumps(results, indent=1))
  if path:
    path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
  define_flags()
  cli.run(main)
