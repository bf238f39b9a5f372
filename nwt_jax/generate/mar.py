"""MAR decoding: one step a Memcode, in raster order, or several at once, with the same result (paper 2.2.2, B.2.3).

A convolution with dilation d knows its taps on the past d steps early. So the places of a frame go in blocks of some 8:
for each block these taps are products with all its places at once, and only the newest taps wait for each other.
Within a block either each Memcode waits for the one before it, or all are drawn from a guess until the guess is what
was drawn. With noise fixed by place, z_t = argmax(logits(z_<t) + noise_t) has one solution: the sequential sample
(predictive sampling, Wiggers & Hoogeboom 2020; Jacobi decoding, Song et al. 2021).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt8

from nwt_jax.generate import mar_weights
from nwt_jax.generate.noise import draw, frame_noise
from nwt_jax.models.causal import time_taps
from nwt_jax.models.mar import MAR

BLOCK = 8  # places in a block, at most, where nothing else is asked for
SEGMENT = 64  # places in a segment, at most, if no block is longer


@struct.dataclass
class MARState:
  """Where sampling stands between two chunks."""

  recent: Any  # Memcodes that the next place's tables are read at, int32 [b r k]
  frame: Any  # a frame of Memcodes by segments, int32 [b s p k]: those of the frame before are the next one's guess
  told: Any  # for every block, its conditioning at the places that its first row looks back, [b r l]
  history: Any  # for every row but the first, a ring of its inputs in the last blocks, [b n w c]
  block: Any  # number of the next block, int32
  windows: Any  # evaluations of the decoder so far, int32


class Line(NamedTuple):
  """A row that remembers its inputs: which one, its dilation, how many places it looks back, its inputs' width."""

  block: int
  row: int
  dilation: int
  reach: int
  width: int  # of its inputs


def lines(model: MAR) -> list[Line]:
  """All rows but the first, whose inputs are Memcodes. A later block's first row remembers the block's inputs."""
  found, width = [], 0
  for block, rows in enumerate(model.blocks):
    for row, (kernel, dilation, features) in enumerate(rows):
      found.append(Line(block, row, dilation, (kernel - 1) * dilation, width))
      width = features
  return found[1:]


def block_size(model: MAR, most: int = BLOCK) -> int:
  """Places in a block: the largest divisor of a frame's up to `most`."""
  return max(size for size in range(1, most + 1) if model.places % size == 0)


def segment_length(model: MAR, size: int) -> int:
  """Places whose conditioning is prepared at once: more would not be faster, and take more memory."""
  return max(n for n in range(size, max(SEGMENT, size) + 1, size) if model.places % n == 0)


def groups(model: MAR, size: int) -> list[list[Line]]:
  """The lines whose taps on the past are known before a block begins; those of one shape are one product."""
  found: dict[tuple, list[Line]] = {}
  for line in lines(model):
    if line.dilation >= size:
      features = model.blocks[line.block][line.row][2]
      found.setdefault((line.reach // line.dilation * line.width, features), []).append(line)
  return list(found.values())


def fold(model: MAR, params, dtype=None, most: int = BLOCK) -> mar_weights.Weights:
  """What sampling reads of a model, once for a loaded one.

  Args: as of `folded.fold`; most: as of `init_state`.
  Raises: ValueError: a row that sees no past."""
  if any(line.reach == 0 for line in lines(model)) or model.blocks[0][0][0] == 1:
    raise ValueError(f"MAR samples with kernels of 2 and more; its rows are {model.blocks}")
  weights, early = mar_weights.fold(model, params, dtype), []
  blocks = [list(block.rows) for block in weights.blocks]
  for group in groups(model, block_size(model, most)):
    early.append(jnp.stack([blocks[line.block][line.row].past for line in group]))
    for line in group:
      blocks[line.block][line.row] = blocks[line.block][line.row].replace(past=None)
  kept = (block.replace(rows=tuple(rows)) for block, rows in zip(weights.blocks, blocks, strict=True))
  return weights.replace(blocks=tuple(kept), early=tuple(early))


def init_state(model: MAR, batch: int, dtype=jnp.float32, most: int = BLOCK) -> MARState:
  """The state of clips that have not begun.

  Args: dtype: the folded weights'. most: places in a block, at most; it changes speed and memory alone.
  """
  size = block_size(model, most)
  length, reach = segment_length(model, size), [(rows[0][0] - 1) * rows[0][1] for rows in model.blocks]
  # Before a clip there is nothing; its first Memcode follows "empty".
  recent = jnp.full((batch, reach[0] + 1, model.num_heads), model.num_codes + 1, jnp.int32)
  return MARState(
    recent=recent.at[:, -1].set(model.num_codes),
    frame=jnp.zeros((batch, model.places // length, length, model.num_heads), jnp.int32),
    told=tuple(jnp.zeros((batch, r, model.linear_dim), dtype) for r in reach),
    history=tuple(jnp.zeros((batch, -(-line.reach // size), size, line.width), dtype) for line in lines(model)),
    block=jnp.int32(0),
    windows=jnp.int32(0),
  )


def sample_chunk(
  model: MAR,
  weights: mar_weights.Weights,
  state: MARState,
  condition: tuple[Float[Array, "b t p f"], ...],
  keys: Key[Array, " b"],
  first_frame: int | Int[Array, ""],
  temperature: float | Float[Array, ""] = 1.0,
  parallel: bool = True,
) -> tuple[UInt8[Array, "b t i j k"], MARState]:
  """Samples the next frames. Chunks in a row give what one call gives.

  Args: weights: `fold` of the model's variables, for blocks of the state's size. condition: `MAR.condition` of these
    frames. keys: one a clip. first_frame: index of the chunk's first frame in its clip. temperature: 0 takes the most
    likely codes. parallel: draws the Memcodes of a block together, from the guess that they are those of the frame
    before, not in turn.
  Returns: codes [b t i j k], and the state after them.
  Raises: ValueError: weights and state for blocks of different sizes."""
  size, length = state.history[0].shape[2], state.frame.shape[2]
  parts, shape = model.places // length, (*model.grid, model.num_heads, model.num_codes)
  if [len(group) for group in groups(model, size)] != [len(kernels) for kernels in weights.early]:
    raise ValueError(f"the state is for blocks of {size} places, the weights for others; give both the same `most`")

  def block(state, inputs):
    heard, noise, guess = inputs
    noise = rearrange(noise, "b w (k n) -> b w k n", k=model.num_heads)
    solve = _Block(model, weights, state, heard, noise, temperature, size)
    codes, entered, windows = solve.together(guess) if parallel else solve.in_turn()
    history = tuple(
      lax.dynamic_update_index_in_dim(ring, x, state.block % ring.shape[1], axis=1)
      for ring, x in zip(state.history, entered, strict=True)
    )
    recent = jnp.concatenate([state.recent, codes], axis=1)[:, size:]
    windows = state.windows + windows
    return state.replace(recent=recent, history=history, block=state.block + 1, windows=windows), codes

  def segment(state, inputs):
    number, told = inputs  # what a segment's blocks read is computed before them, in bulk
    frame, part = first_frame + number // parts, number % parts
    told = [jnp.concatenate([past, now.astype(past.dtype)], axis=1) for past, now in zip(state.told, told, strict=True)]
    heard = tuple(
      mar_weights.hear(*args, length, rows[0][1])
      for *args, rows in zip(weights.blocks, told, model.blocks, strict=True)
    )
    noise = rearrange(frame_noise(keys, frame, shape), "b i j k n -> b (i j) (k n)")
    noise = lax.dynamic_slice_in_dim(noise, part * length, length, axis=1)
    guess = lax.dynamic_index_in_dim(state.frame, part, axis=1, keepdims=False)
    by_block = jax.tree.map(lambda x: rearrange(x, "b (s w) f -> s b w f", w=size), (heard, noise, guess))
    state, codes = lax.scan(block, state, by_block)
    codes = rearrange(codes, "s b w k -> b (s w) k")
    state = state.replace(
      told=tuple(line[:, length:] for line in told),
      frame=lax.dynamic_update_index_in_dim(state.frame, codes, part, axis=1),
    )
    return state, codes.astype(jnp.uint8)

  by_segment = tuple(rearrange(c, "b t (s w) f -> (t s) b w f", w=length) for c in condition)
  state, codes = lax.scan(segment, state, (jnp.arange(len(by_segment[0])), by_segment))
  codes = rearrange(codes, "(t s) b w k -> b t (s w) k", s=parts)
  return rearrange(codes, "b t (i j) k -> b t i j k", i=model.grid[0]), state


def recall(ring: Float[Array, "b n w c"], block: Int[Array, ""], back: int, length: int) -> Float[Array, "b l c"]:
  """Inputs of `length` places, the first of them `back` places before the block. No read of a ring crosses its end."""
  size = ring.shape[2]
  first, skip = divmod(-back, size)
  last = (-back + length - 1) // size
  blocks = [
    lax.dynamic_index_in_dim(ring, (block + n) % ring.shape[1], 1, keepdims=False) for n in range(first, last + 1)
  ]
  return jnp.concatenate(blocks, axis=1)[:, skip : skip + length]


class _Block:
  """One block of places: what is known before its first Memcode, and two ways to draw its Memcodes."""

  def __init__(self, model, weights, state, heard, noise, temperature, size):
    self.model, self.weights, self.heard, self.size = model, weights, heard, size
    self.noise, self.temperature, self.recent = noise, temperature, state.recent
    self.lines = lines(model)
    self.named = {line[:2]: line for line in self.lines}
    rings = dict(zip(self.lines, state.history, strict=True))
    self.early = {}  # what taps on the past give, for the whole block
    for group, kernels in zip(groups(model, size), weights.early, strict=True):
      taps = [
        jnp.concatenate(
          [recall(rings[line], state.block, back, size) for back in range(line.reach, 0, -line.dilation)], axis=-1
        )
        for line in group
      ]
      exact = jnp.promote_types(kernels.dtype, jnp.float32)
      past = jnp.einsum("gbwc,gcf->gbwf", jnp.stack(taps), kernels, preferred_element_type=exact)
      self.early |= dict(zip(group, past, strict=True))
    self.tails = {  # inputs before the block, for short dilations
      line: recall(rings[line], state.block, line.reach, line.reach) for line in self.lines if line not in self.early
    }

  def older(self, line, inputs, start, length):
    """What a row's taps on the past give for `length` places; the oldest of the first one is inputs[start]."""
    row = self.weights.blocks[line.block].rows[line.row]
    taps = time_taps(inputs, line.reach // line.dilation, line.dilation, length, start)
    return mar_weights.product(taps, row.past)

  def oldest(self, codes, start, length):
    """The same for the first row, from Memcodes."""
    (_, dilation, _), *_ = self.model.blocks[0]
    tables = self.weights.blocks[0].rows[0].past
    return sum(mar_weights.look_up(t, codes[:, start + n * dilation :][:, :length]) for n, t in enumerate(tables))

  def draw(self, codes, older, start, length):
    """Memcodes of some places, given those before each of them."""
    heard = jax.tree.map(lambda h: h[:, start : start + length], self.heard)
    logits = rearrange(
      mar_weights.window(self.weights, codes, heard, older), "b w (k n) -> b w k n", k=self.model.num_heads
    )
    return draw(logits, self.noise[:, start : start + length], self.temperature).astype(jnp.int32)

  def in_turn(self):
    """Each Memcode after the one before it. Returns: Memcodes, every line's inputs in `window`, evaluations."""
    known, inner, near = self.recent, {line: [] for line in self.lines}, {}

    def older(n, r, x):
      step = known.shape[1] - self.recent.shape[1]
      if (n, r) == (0, 0):
        return self.oldest(known, step, 1)
      line = self.named[n, r]
      seen = inner[line]
      if line in self.early:
        past = self.early[line][:, step : step + 1]
      else:
        if step % line.dilation == 0:
          inputs = jnp.concatenate([self.tails[line], *seen], axis=1)
          near[line] = self.older(line, inputs, step, min(line.dilation, self.size - step))
        past = near[line][:, step % line.dilation][:, None]
      seen.append(x)
      return past

    for step in range(self.size):
      known = jnp.concatenate([known, self.draw(known[:, -1:], older, step, 1)], axis=1)
    return known[:, -self.size :], [jnp.concatenate(inner[line], axis=1) for line in self.lines], self.size

  def together(self, guess):
    """All Memcodes from a guess, until the guess is what is drawn. Args and returns: as `in_turn`."""

    def again(carry):
      guess, _, _, count = carry
      known, inner = jnp.concatenate([self.recent, guess[:, :-1]], axis=1), {}

      def older(n, r, x):
        if (n, r) == (0, 0):
          return self.oldest(known, 0, self.size)
        line = self.named[n, r]
        inner[line] = x
        if line in self.early:
          return self.early[line]
        return self.older(line, jnp.concatenate([self.tails[line], x], axis=1), 0, self.size)

      codes = self.draw(known[:, -self.size :], older, 0, self.size)
      done = jnp.all(codes[:, :-1] == guess[:, :-1])
      return codes, done, [inner[line] for line in self.lines], count + 1

    start = guess, jnp.bool(False), jax.eval_shape(again, (guess, jnp.bool(False), None, 0))[2], jnp.int32(0)
    start = (*start[:2], jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), start[2]), start[3])
    # One more Memcode at least is right after each evaluation
    codes, _, inner, count = lax.while_loop(lambda carry: ~carry[1] & (carry[3] < self.size), again, start)
    return codes, inner, count
