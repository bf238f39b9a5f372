"""Sampling on a CPU: our ways against others, in one process, in turns.

  python -m benchmarks.sampling --json=benchmarks/results/cpu.json
  python -m benchmarks.sampling --only=together --checkpoint=runs/mine/mar --audio=speech.wav --json=FILE

A ratio is the other way's time by ours, round by round (median and quartiles): above 1 ours is faster. Parts:

  cache      a Memcode with no cache, after clips of several lengths, against the plain cached scan
  early      plain cached scans against taps computed early, in turn; the shipped size and the paper's
  together   Memcodes in turn against several together, with a trained model (--checkpoint), and how many are accepted
  torch      PyTorch, eager and compiled, against ours (needs `make venv-peer`)
  guesses    Memcodes an evaluation, by where the guess comes from (--checkpoint with MAR; FAR if it is there)
  curve      time a frame and memory along ten minutes of sound, from sound to pixels
"""

import functools
import json
import resource
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import baselines, models, timing
from benchmarks.torch_peer.compare import before_torch
from nwt_jax import cli
from nwt_jax.api import NWT
from nwt_jax.generate import mar, verify
from nwt_jax.io import audio_stream
from nwt_jax.io.progress import Progress
from nwt_jax.sample import SHIPPED_AUDIO

PARTS = ("cache", "early", "together", "guesses", "torch", "curve")
MARKS = (1, 10, 60, 180)  # seconds of `curve`, before its last
PERIOD, CURVE_ROUNDS = 4, 15  # seconds of speech that are repeated; turns of each mark


def define_flags() -> None:
  """Defines this program's options; in a function, so that others can import the file beside their own."""
  flags.DEFINE_string("json", None, "JSON file to write; parts that are not run stay as they are there.")
  flags.DEFINE_multi_enum("only", list(PARTS), list(PARTS), "A part to run; may be given again.")
  flags.DEFINE_string("checkpoint", None, "MAR's workdir or release; without: the shipped talker.")
  flags.DEFINE_string("audio", str(SHIPPED_AUDIO), "Speech for `together` and `curve`.")
  flags.DEFINE_list("sizes", ["demo", "full"], "Sizes of MAR for `early` and `torch`.")
  flags.DEFINE_float("turns", 20.0, "Seconds that a comparison is timed, at least five rounds.", lower_bound=0.0)
  flags.DEFINE_float("minutes", 10.0, "Length of the sound of `curve`.", lower_bound=0.1)


class Job:
  """A MAR with random weights and what it samples from.

  Args: size: argument of configs/mar.py, "full" for the paper's. frames: of the clip.
  """

  def __init__(self, size: str, frames: int):
    self.model = models.model("mar", "" if size == "full" else size)
    self.params = models.parameters(self.model)
    draw = np.random.default_rng(0)
    shape = (1, frames, self.model.positions, self.model.linear_dim)
    self.condition = tuple(jnp.asarray(draw.standard_normal(shape, np.float32)) for _ in self.model.blocks)
    self.keys, self.frames = jax.random.split(jax.random.key(0), 1), frames

  def baseline(self, name: str):
    step, state = baselines.program(name, self.model), baselines.BASELINES[name][0](self.model, 1)
    return lambda: step(self.params, state, self.condition, self.keys, jnp.int32(0), jnp.float32(1))[0]

  def ours(self, parallel: bool = False, most: int = mar.TILE):
    step = jax.jit(functools.partial(mar.sample_chunk, self.model, parallel=parallel))
    weights = jax.jit(functools.partial(mar.fold, self.model, most=most))(self.params)
    state = mar.init_state(self.model, 1, most=most)
    return lambda: step(weights, state, self.condition, self.keys, jnp.int32(0), jnp.float32(1))[0]


def equal(ways: dict) -> dict:
  """The share of codes that are those of the first way."""
  codes = {name: np.asarray(run()) for name, run in ways.items()}
  first = next(iter(codes.values()))
  return {name: float(np.mean(c == first)) for name, c in codes.items()}


def cache() -> dict:
  """One Memcode at the end of clips of 1 to 16 frames, shipped size."""
  job, found = Job("demo", 16), {}
  plain, codes = job.baseline("plain"), job.baseline("plain")()
  for frames in (1, 4, 16):
    naive = jax.jit(functools.partial(baselines.naive, job.model), static_argnums=(4, 5))
    last = (job.params, codes, job.condition, job.keys, frames - 1, job.model.positions - 1, jnp.float32(1))
    assert (naive(*last)[0] == codes[0, frames - 1, -1, -1]).all()
    rounds = timing.take_turns(
      {"naive": lambda last=last, naive=naive: naive(*last), "plain": plain}, flags.FLAGS.turns / 2
    )
    memcodes = job.frames * job.model.positions
    found[str(frames)] = timing.spread([turn["naive"] / (turn["plain"] / memcodes) for turn in rounds])
  return found


def bandwidth() -> float:
  """Bytes a second that this machine reads from memory: a product of 512 MiB with a vector."""
  matrix, vector = jnp.ones((8192, 16384)), jnp.ones(16384)
  product = jax.jit(jnp.dot)
  times = [timing.once(lambda: product(matrix, vector)) for _ in range(8)]
  return matrix.nbytes / min(times)


def early() -> dict:
  """The plain caches against taps computed early. `limit`: microseconds to read the weights that a Memcode needs."""
  found = {}
  for size in flags.FLAGS.sizes:
    job = Job(size, 1 if size == "full" else 16)
    ways = {name: job.baseline(name) for name in baselines.BASELINES} | {"in turn, taps early": job.ours()}
    rounds = timing.take_turns(ways, flags.FLAGS.turns, warm=1 if size == "full" else 3)
    found[size] = {
      "limit": models.read_a_memcode(job.model, mar.TILE, jnp.float32) / bandwidth() * 1e6,
      "equal": equal(ways),
      "ratios": {name: timing.ratio(rounds, name, "in turn, taps early") for name in baselines.BASELINES},
      "microseconds a Memcode": {
        name: timing.spread([turn[name] * 1e6 / job.frames / job.model.positions for turn in rounds]) for name in ways
      },
    }
  return found


class Speech:
  """A trained prior and up to three seconds of what it hears. Args: family: "mar" or "far"."""

  def __init__(self, family: str):
    self.model = NWT.from_checkpoint(flags.FLAGS.checkpoint, family)
    self.job = self.model.generate(audio_stream.open_sound(flags.FLAGS.audio))
    self.frames = min(self.job.frames, 90)
    self.inputs = self.job.sound.mel(0, self.frames)[None], self.job.styles, self.job.numbers[None, : self.frames]
    self.cond = jax.jit(functools.partial(self.model.prior.apply, method="condition"))(
      self.model.prior_params, *self.inputs
    )


def together() -> dict:
  """With trained weights: how many Memcodes an evaluation gives, and what that is worth here."""
  speech, found = Speech("mar"), {}
  model, job, frames, cond = speech.model, speech.job, speech.frames, speech.cond
  for temperature in (job.temperature, 1.0):
    ways, evaluations = {}, {}
    for most in (0, 4, 8, 14, 28, 56):
      step = jax.jit(functools.partial(mar.sample_chunk, model.prior, parallel=most > 0))
      start = mar.init_state(model.prior, 1, most=most or mar.TILE)
      weights = jax.jit(functools.partial(mar.fold, model.prior, most=most or mar.TILE))(model.prior_params)
      run = functools.partial(step, weights, start, cond, job.key[None], jnp.int32(0), jnp.float32(temperature))
      name = f"{most} together" if most else "in turn"
      evaluations[name], ways[name] = int(run()[1].num_evals), lambda run=run: run()[0]
    rounds = timing.take_turns(ways, flags.FLAGS.turns)
    memcodes = frames * model.prior.positions
    found[f"temperature {temperature:g}"] = {
      name: {
        "accepted an evaluation": memcodes / evaluations[name],
        "ratio": timing.ratio(rounds, "in turn", name),
        "microseconds a Memcode": timing.spread([turn[name] * 1e6 / memcodes for turn in rounds]),
        "equal": share,
      }
      for name, share in equal(ways).items()
    }
  return found


def guesses() -> dict:
  """What the frame before, FAR with the same noise after MAR's frames, and the sample itself are worth as guesses."""
  speech = Speech("mar")
  model, noise = speech.model.prior, (speech.job.key[None], jnp.float32(speech.job.temperature))

  def sample(most: int, drafts: np.ndarray | None) -> tuple[np.ndarray, int]:
    """Frame by frame, each from its own draft. Returns: codes [t i j k], evaluations."""
    weights = jax.jit(functools.partial(mar.fold, model, most=most))(speech.model.prior_params)
    step, state, parts = jax.jit(functools.partial(mar.sample_chunk, model)), mar.init_state(model, 1, most=most), []
    for t in range(speech.frames):
      if drafts is not None:
        state = state.replace(frame=jnp.asarray(drafts[t].reshape(state.frame.shape), jnp.int32))
      codes, state = step(weights, state, tuple(c[:, t : t + 1] for c in speech.cond), noise[0], jnp.int32(t), noise[1])
      parts.append(np.asarray(codes[0, 0]))
    return np.stack(parts), int(state.num_evals)

  codes, _ = sample(8, None)
  drafts = {"the frame before": None, "the sample itself": codes}
  shift = np.concatenate([np.zeros_like(codes[:1]), codes[:-1]])
  if (Path(flags.FLAGS.checkpoint or SHIPPED_AUDIO.parent) / "far.safetensors").exists():
    other = Speech("far")
    drawn, _ = jax.jit(functools.partial(verify.resample, other.model.prior))(
      other.model.prior_params, jnp.asarray(codes[None], jnp.int32), *other.inputs, *noise
    )
    drafts["FAR, the same noise"] = np.asarray(drawn[0])
  found = {}
  for name, draft in drafts.items():
    entry = {"codes right": float(np.mean((shift if draft is None else draft) == codes))}
    for most in (8, 56):
      again, evaluations = sample(most, draft)
      assert (again == codes).all()
      entry[f"{most} together"] = codes[..., 0].size / evaluations
    found[name] = entry
  return found


def torch() -> dict:
  """Sampling and a training step of MAR's decoder, against PyTorch with the same weights and noise."""
  before_torch()
  try:
    from benchmarks.torch_peer import ratios
  except ImportError as error:
    return {"not run": f"{error}; make venv-peer, then .venv-peer/bin/python -m benchmarks.sampling --only=torch"}
  return {size: ratios.against_ours("mar", size, flags.FLAGS.turns) for size in flags.FLAGS.sizes}


def curve() -> dict:
  """From sound to pixels: what a second of video takes, and memory, at marks along one clip.

  The same four seconds of speech again and again, a second a chunk; at a mark the four after it are timed, so that
  every mark has the same to do. Marks take turns, so that a machine that is slow for a while is slow for all of them.
  """
  model, last = NWT.from_checkpoint(None, "mar"), round(flags.FLAGS.minutes * 60)
  marks = [mark for mark in MARKS if mark < last] + [last]
  speech = audio_stream.open_sound(SHIPPED_AUDIO).samples[: PERIOD * audio_stream.SAMPLE_RATE]
  samples = np.resize(speech, (last + PERIOD * CURVE_ROUNDS) * audio_stream.SAMPLE_RATE)

  def clip():
    return iter(model.generate(samples, audio_stream.SAMPLE_RATE, chunk_frames=model.fps))

  def advance(chunks, seconds: int) -> float:
    start = time.perf_counter()
    for _ in range(seconds):
      next(chunks)
    return time.perf_counter() - start

  advance(clip(), PERIOD)  # compiles
  held, memory, long = {}, {}, clip()
  bar, rounds, start = Progress("curve, one clip", last, "seconds of video"), [], time.perf_counter()
  for second in range(1, last + 1):
    advance(long, 1)
    if second in marks:
      memory[second] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    bar.step()
  speed = last * model.fps / (time.perf_counter() - start)
  bar.close()
  bar = Progress("curve, in turns", CURVE_ROUNDS, "rounds")
  for number in range(CURVE_ROUNDS):
    shift, turn = number % len(marks), {}
    for mark in marks[shift:] + marks[:shift]:
      if mark != last and (mark not in held or mark <= PERIOD * CURVE_ROUNDS):
        held[mark] = clip()  # the early marks from the start each time; the others move on from where they stand
        advance(held[mark], mark)
      turn[mark] = advance(long if mark == last else held[mark], PERIOD)
    rounds.append(turn)
    bar.step()
  bar.close()
  found = {
    f"{mark} s": timing.spread([turn[mark] * 1000 / PERIOD / model.fps for turn in rounds])
    | {"of the last": timing.ratio(rounds, mark, last), "MiB": memory[mark]}
    for mark in marks
  }
  return {"milliseconds a frame at": found, "frames": last * model.fps, "frames a second": speed}


def main(_) -> None:
  path = timing.writable(flags.FLAGS.json)
  results = json.loads(path.read_text() or "{}") if path else {}
  for part in flags.FLAGS.only:
    results[part] = {"machine": timing.machine()} | globals()[part]()
    print(part, json.dumps(results[part], indent=1), flush=True)
    if path:
      path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
  define_flags()
  cli.run(main)
