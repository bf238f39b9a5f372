"""Sound in pieces, and many clips at once, on tiny models: the same video, as soon and in as little memory as said."""

import gc
import itertools
import queue

import jax
import numpy as np
import pytest

from nwt_jax.api import model as api
from nwt_jax.errors import InputError
from nwt_jax.generate.session import Chunk, Session

RATE = 24_000
OPTIONS = {"seed": 3, "episode": "ann,bob@0.5", "chunk_frames": 8}


@pytest.fixture(scope="module", params=["mar", "far"])
def model(request, tiny_release):
  return load(tiny_release, request.param)


@pytest.fixture(scope="module")
def mar(tiny_release):
  return load(tiny_release, "mar")


@pytest.fixture(scope="module")
def far(tiny_release):
  return load(tiny_release, "far")


def load(folder, family):
  """A model with styles of training clips: every episode's is another, far from the others'."""
  model = api.NWT.from_checkpoint(folder, family)
  mean = 4 * np.eye(3, model.prior.style_dim, dtype=np.float32)
  bank = {"mean": mean, "log_std": np.full_like(mean, -20), "episode": np.arange(3)}
  model.prior_params = {**model.prior_params, "styles": bank}
  return model


def noise(samples, seed=0):
  return (np.random.default_rng(seed).normal(size=samples) * np.linspace(0.02, 0.3, samples)).astype(np.float32)


def collect(chunks):
  video = Chunk.join(chunks)
  return video.frames, video.codes


def assert_same(one, other):
  for mine, theirs in zip(one, other, strict=True):
    np.testing.assert_array_equal(mine, theirs)


def pieces(samples, kind):
  if kind == "of one sample":
    return np.split(samples, len(samples))
  if kind == "at once":
    return [samples]
  draw, cuts = np.random.default_rng(1), [0]
  while cuts[-1] < len(samples):
    cuts.append(cuts[-1] + int(draw.choice([0, 1, 13, 799, 801, 4000])))
  return [samples[:0], *np.split(samples, cuts[1:-1]), samples[:0]]


@pytest.mark.parametrize("kind", ["of one sample", "odd and empty", "at once"])
def test_a_stream_is_what_generate_makes_of_all_of_it_bit_for_bit(model, kind):
  speech = noise(RATE + 100)  # 31 frames, the last of them part silence
  wanted = collect(model.generate(speech, RATE, **OPTIONS))
  assert wanted[0].shape == (31, 32, 24, 3) and wanted[1].shape == (31, 4, 3, 2)
  assert_same(collect(model.stream(RATE, **OPTIONS).follow(pieces(speech, kind))), wanted)


@pytest.mark.parametrize("rate, samples", [(44_100, 40_001), (16_000, 1), (48_000, 48_000)])
def test_a_stream_of_another_rate_is_too(mar, rate, samples):
  speech = noise(2 * samples).reshape(samples, 2)  # stereo
  wanted = collect(mar.generate(speech, rate, seed=1, chunk_frames=8))
  assert_same(collect(mar.stream(rate, seed=1, chunk_frames=8).follow(pieces(speech, "odd and empty"))), wanted)


@pytest.mark.parametrize("frames", [1, 4, 7, 8, 9, 16])
@pytest.mark.parametrize("chunk_frames", [1, 3, 8])
def test_clips_of_any_length_in_chunks_of_any_size_are_whole(mar, frames, chunk_frames):
  """Chunks shorter than the decoder's margin, clips shorter than a chunk, ends within and between chunks."""
  speech = noise(800 * frames)
  frames_of, codes = collect(mar.generate(speech, RATE, chunk_frames=chunk_frames))
  assert len(frames_of) == len(codes) == frames
  whole_frames, whole = collect(mar.generate(speech, RATE, chunk_frames=16))
  np.testing.assert_array_equal(codes, whole)
  assert np.abs(frames_of.astype(int) - whole_frames).max() <= 1  # one grey level: see tests/api/test_model.py
  assert np.abs(mar.decode(codes).astype(int) - frames_of).max() <= 1
  assert_same(collect(mar.stream(RATE, chunk_frames=chunk_frames).follow(pieces(speech, "odd"))), (frames_of, codes))


def test_frames_that_nobody_asked_for_yet_come_with_the_next(mar):
  speech = noise(RATE)
  wanted = collect(mar.generate(speech, RATE, **OPTIONS))
  stream, chunks = mar.stream(RATE, **OPTIONS), []
  for number, piece in enumerate(pieces(speech, "odd")):
    ready = stream.feed(piece)
    if number % 3 == 0:
      chunks += itertools.islice(ready, number % 2)  # some, none, and never all
  assert_same(collect([*chunks, *stream.finish()]), wanted)
  assert not list(stream.finish())
  with pytest.raises(InputError, match="after its end"):
    stream.feed(speech)


def test_a_stream_without_sound_has_no_frames(mar):
  assert not list(mar.stream(RATE).follow([]))
  recorded = queue.Queue()
  for piece in (*np.split(speech := noise(RATE // 3), 5), None):
    recorded.put(piece)
  wanted = collect(mar.generate(speech, RATE, chunk_frames=8))
  assert_same(collect(mar.stream(RATE, chunk_frames=8).follow(recorded.get)), wanted)
  assert not list(mar.stream(48_000).follow([noise(0)]))


def test_a_change_of_episode_may_come_after_the_sound_has_ended(mar):
  codes = collect(mar.stream(RATE, episode="ann,bob@0.2,cy@9", chunk_frames=8).follow([noise(RATE // 2)]))[1]
  np.testing.assert_array_equal(
    codes, collect(mar.generate(noise(RATE // 2), RATE, episode="ann,bob@0.2", chunk_frames=8))[1]
  )
  with pytest.raises(InputError, match="needs a time after 0.2 s, as in"):
    mar.stream(RATE, episode="ann,bob@0.2,cy@0.1")


@pytest.mark.parametrize("rate", [RATE, 16_000])
@pytest.mark.parametrize("chunk_frames", [1, 5])
@pytest.mark.parametrize("causal", [False, True])
def test_frames_come_no_later_than_latency_says(mar, rate, chunk_frames, causal):
  if causal:
    prior = mar.prior.clone(causal_audio=True)
    mar = api.NWT("mar", prior, mar.prior_params, mar.card, mar.dvae, mar.dvae_params, mar.dvae_card, mar.options)
  latency = mar.latency(chunk_frames, rate)
  stream, step, fed, frames, worst = mar.stream(rate, chunk_frames=chunk_frames), rate // 1000, 0, 0, 0.0
  for piece in np.split(noise(rate), range(step, rate, step)):  # a millisecond each
    fed += len(piece)
    for chunk in stream.feed(piece):
      worst = max(worst, 1000 * (fed / rate - (frames + 1) / mar.fps))  # of the chunk's first frame
      frames += len(chunk.frames)
  assert frames > 15
  # At the resampler's rate exactly; else by chance some of a block earlier.
  assert latency.total - latency.resampling - 1.5 <= worst <= latency.total + 1
  ahead, after = 0 if causal else 6, mar.dvae.decoder_margins[1]
  assert (latency.chunk, latency.audio, latency.decoder) == pytest.approx(
    tuple(1000 / 30 * count for count in (chunk_frames - 1, ahead, after))
  )
  assert latency.mel == pytest.approx(200 / 24) and (latency.resampling == 0) == (rate == RATE)


def memory_of(stream):
  """Bytes of the samples and arrays that a stream keeps, and how many arrays there are in the process."""
  session = stream._session
  leaves = jax.tree.leaves((session._state, session._tail, session._blank, list(session._waiting)))
  return len(stream._generation.sound._buffer), sum(np.asarray(leaf).nbytes for leaf in leaves), len(jax.live_arrays())


def test_ten_minutes_take_no_more_memory_than_ten_seconds(far):
  rate = 44_100
  stream, second = far.stream(rate, chunk_frames=30), noise(rate)
  gc.collect()
  held, frames = [], 0
  for _ in range(600):
    frames += sum(len(chunk.frames) for chunk in stream.feed(second))
    held.append(memory_of(stream))
  assert frames > 599 * 30 - 60
  early, late = np.max(held[5:10], axis=0), np.max(held[10:], axis=0)
  assert (late <= early).all(), (early, late)
  assert late[0] <= 4 * 800 * (
    30 + sum(far.prior.cond_margins) + 32
  )  # a chunk, what its conditioning sees around it, a piece


def test_the_next_chunk_is_under_way_before_the_last_one_is_fetched(mar, monkeypatch):
  """So that the device samples while a file is written; and not more than one ahead, so that memory stays flat."""
  events, turn = [], Session._turn

  def log_turn(session):
    events.append(f"ask {session._first // 8}")
    turn(session)

  monkeypatch.setattr(Session, "_turn", log_turn)
  for number, _ in enumerate(mar.generate(noise(800 * 24), RATE, chunk_frames=8)):
    events.append(f"take {number}")
  assert events == ["ask 0", "ask 1", "take 0", "ask 2", "take 1", "ask 3", "take 2", "take 3"]


def many(model, jobs, **options):
  chunks = [[] for _ in jobs]
  for clip, chunk in model.generate_many(jobs, **options):
    chunks[clip].append(chunk)
  return [collect(part) for part in chunks]


@pytest.mark.parametrize("at_once", [2, 4])
def test_a_clip_comes_out_of_a_batch_as_it_does_alone(model, at_once):
  """Exactly, at this size. Lengths, seeds, episodes and styles differ; one style changes on the way."""
  requests = [(9, "ann"), (31, "bob"), (20, "cy,ann@0.3"), (1, "mean")]
  jobs = [
    model.generate(noise(800 * frames - 5, seed), RATE, seed=seed, episode=episode, chunk_frames=8)
    for seed, (frames, episode) in enumerate(requests)
  ]
  assert len(np.unique(jobs[2].styles[0], axis=0)) == 2
  videos = many(model, jobs, at_once=at_once)
  assert [len(frames) for frames, _ in videos] == [9, 31, 20, 1]
  for job, (frames, codes) in zip(jobs, videos, strict=True):
    alone_frames, alone = collect(job)
    np.testing.assert_array_equal(codes, alone)
    assert np.abs(frames.astype(int) - alone_frames).max() <= 1


def test_clips_that_do_not_go_together_are_refused(mar, far):
  job = lambda **options: mar.generate(noise(800), RATE, **options)  # noqa: E731
  with pytest.raises(InputError, match="several values of temperature .0.5, 1.0."):
    mar.generate_many([job(), job(temperature=0.5)])
  with pytest.raises(InputError, match="several values of chunk_frames .8, 32."):
    mar.generate_many([job(), job(chunk_frames=8)])
  with pytest.raises(InputError, match="another model"):
    far.generate_many([job()])
  with pytest.raises(InputError, match="at_once 0"):
    mar.generate_many([job()], at_once=0)
  assert not list(mar.generate_many([]))
