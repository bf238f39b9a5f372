"""Speech in, video out, on tiny models of random weights: chunking changes nothing, bad requests are one line."""

import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nwt_jax.api import model as api
from nwt_jax.errors import InputError
from nwt_jax.generate.style import reading_key
from nwt_jax.io import audio as audio_files
from nwt_jax.io import ffmpeg, video
from tests import media

RATE = 24_000


@pytest.fixture(scope="module", params=["mar", "far"])
def model(request, tiny_release):
  return api.NWT.from_checkpoint(tiny_release, request.param)


@pytest.fixture(scope="module")
def speech():
  """One second and a bit: 31 frames, the last of them part silence."""
  noise = np.random.default_rng(0).normal(size=RATE + 100) * np.linspace(0, 0.3, RATE + 100)
  return noise.astype(np.float32)


def collect(generation):
  chunks = list(generation)
  return np.concatenate([c.frames for c in chunks]), np.concatenate([c.codes for c in chunks])


def test_chunks_of_any_size_give_the_same_video(model, speech):
  frames, codes = collect(model.generate(speech, RATE, seed=3, episode="ann,bob@0.5", chunk_frames=31))
  assert frames.shape == (31, 32, 24, 3) and frames.dtype == np.uint8
  assert codes.shape == (31, 4, 3, 2) and codes.dtype == np.uint8
  for size in (8, 40):
    other_frames, other_codes = collect(model.generate(speech, RATE, seed=3, episode="ann,bob@0.5", chunk_frames=size))
    np.testing.assert_array_equal(other_codes, codes)
    # One grey level: float32 sums of windows of different shapes may round to either side of a half.
    assert np.abs(other_frames.astype(int) - frames).max() <= 1


def test_chunks_are_the_clip_sampled_whole(model, speech):
  """No windows, no masks: the conditioning of all 31 frames in one call, SAME padding at the clip's true ends."""
  job = model.generate(speech, RATE, seed=3, chunk_frames=8)
  sampler, params, weights, start = api.SAMPLERS[model.family], model.prior_params, model._weights, model._start(1)

  @jax.jit
  def whole(mel, style, episode, key):
    condition = model.prior.apply(params, mel, style, episode, method="condition")
    return sampler.sample_chunk(model.prior, weights, start, condition, key, 0, 1.0)[0]

  codes = whole(audio_files.log_mel(speech, 31)[None], job.style, job.numbers[None], job.key[None])
  np.testing.assert_array_equal(collect(job)[1], codes[0])


def test_places_change_no_memcode_and_bfloat16_decodes_to_nearly_the_same_pixels(tiny_release, model, speech):
  frames, codes = collect(model.generate(speech, RATE, seed=3))
  for places in (1, 12):
    other = api.NWT.from_checkpoint(tiny_release, model.family, places=places)
    np.testing.assert_array_equal(collect(other.generate(speech, RATE, seed=3))[1], codes)
  rough = api.NWT.from_checkpoint(tiny_release, model.family, precision="bfloat16")
  assert {leaf.dtype for leaf in jax.tree.leaves(rough._weights)} == {jnp.dtype(jnp.bfloat16)}
  assert np.mean(collect(rough.generate(speech, RATE, seed=3))[1][0] == codes[0]) > 0.8
  assert np.abs(rough.decode(codes).astype(int) - model.decode(codes)).mean() < 3
  for wrong, text in (({"precision": "half"}, "choose float32 or bfloat16"), ({"places": 0}, "less than one")):
    with pytest.raises(InputError, match=text):
      api.NWT.from_checkpoint(tiny_release, model.family, **wrong)


def test_a_sample_is_what_the_model_draws_without_caches(model, speech):
  job = model.generate(speech, RATE, seed=3, episode="ann,bob@0.5", chunk_frames=8)
  codes = collect(job)[1]
  assert (model.differences(job, codes) < 1e-4).all()
  codes[20, 1, 1] = 3 - codes[20, 1, 1]
  gaps = model.differences(job, codes)
  assert len(gaps) and gaps.max() > 1e-2  # what was not sampled shows, by a gap that rounding does not explain


def test_frames_are_the_decoded_codes(model, speech):
  frames, codes = collect(model.generate(speech, RATE, episode="cy", chunk_frames=8))
  decoded = model.decode(codes, "cy")
  assert np.abs(decoded.astype(int) - frames).max() <= 1


def test_seed_style_and_episode_each_matter(model, speech):
  def codes(**options):
    return collect(model.generate(speech, RATE, chunk_frames=8, **options))[1]

  base = codes()
  np.testing.assert_array_equal(codes(), base)
  np.testing.assert_array_equal(codes(style_seed=0), base)
  for options in ({"seed": 1}, {"style_seed": 1}, {"style": "2=+50.0"}, {"episode": "bob"}, {"temperature": 0.0}):
    assert (codes(**options) != base).any(), options
  assert (collect(model.generate(speech[::-1], RATE, chunk_frames=8))[1] != base).any()


def test_temperature_zero_needs_no_seed(model, speech):
  one, two = (collect(model.generate(speech, RATE, seed=s, style_seed=0, temperature=0))[1] for s in (0, 1))
  np.testing.assert_array_equal(one, two)


def test_the_temperature_is_the_cards_unless_one_is_given(model, speech, monkeypatch):
  assert model.generate(speech, RATE).temperature == 1.0  # a card with no advice, or the paper's
  monkeypatch.setitem(model.card, "temperature", 0.25)
  assert model.generate(speech, RATE).temperature == 0.25
  assert model.generate(speech, RATE, temperature=0).temperature == 0


def test_each_episode_has_a_style_from_the_bank(model, speech, monkeypatch):
  mean = jnp.array([[1.0], [2.0], [3.0]]) * jnp.ones((3, model.prior.style_dim))
  styles = {"mean": mean, "log_std": jnp.full_like(mean, -20.0), "episode": jnp.arange(3)}
  monkeypatch.setattr(model, "prior_params", {**model.prior_params, "styles": styles})
  ann, bob = map(model.episodes.index, ("ann", "bob"))
  one = model.generate(speech, RATE, seed=1, episode="bob")
  np.testing.assert_allclose(one.style, mean[bob][None], atol=1e-6)
  job = model.generate(speech, RATE, seed=1, episode="bob,ann@0.5", chunk_frames=8)
  np.testing.assert_allclose(job.style[0], mean[np.array([bob] * 15 + [ann] * 16)], atol=1e-6)
  codes = collect(job)[1]  # a collection that the model does not know does not disturb it
  np.testing.assert_array_equal(codes[:15], collect(one)[1][:15])
  assert (model.differences(job, codes) < 1e-4).all()
  edited = model.generate(speech, RATE, seed=1, episode="bob,ann@0.5", style="2=-4").style
  assert edited.shape == job.style.shape and (edited[..., 2] == -4).all()


def test_style_is_copied_from_a_video(model, speech, tmp_path):
  frames = np.random.default_rng(1).integers(0, 255, (9, 32, 24, 3), np.uint8)
  video.write_video(tmp_path / "clip.mp4", frames)
  copied = model.generate(speech, RATE, style_from=tmp_path / "clip.mp4").style
  np.testing.assert_allclose(copied, model.style_of(video.read_video(tmp_path / "clip.mp4", 30, 32, 24)), atol=1e-6)


@pytest.mark.parametrize("rate", ["25", "30000/1001", "50"])
def test_of_a_long_style_clip_no_more_is_decoded_than_counts(tiny_release, tmp_path, monkeypatch, rate):
  model = api.NWT.from_checkpoint(tiny_release, "mar")
  moving = ["-f", "lavfi", "-i", f"testsrc2=size=48x64:rate={rate}:duration=30", "-pix_fmt", "yuv420p"]
  path = media.ffmpeg_to(tmp_path / "long.mp4", *moving)
  whole = model.style_of(video.read_video(path, 30, 32, 24))
  decode, read = ffmpeg.decode, []
  monkeypatch.setattr(ffmpeg, "decode", lambda *a, **k: read.append(decode(*a, **k)) or read[-1])
  np.testing.assert_array_equal(model.generate(np.zeros(RATE), RATE, style_from=path).style, whole)
  assert api.STYLE_FRAMES * 32 * 24 * 3 < sum(map(len, read)) < 1.5 * api.STYLE_FRAMES * 32 * 24 * 3


def test_the_style_of_a_long_clip_is_the_mean_over_windows_as_long_as_those_of_training(model, monkeypatch):
  frames = np.random.default_rng(1).integers(0, 255, (11, 32, 24, 3), np.uint8)
  codes = jnp.asarray(model.encode(frames), jnp.int32)
  posterior = lambda part: model.prior.apply(model.prior_params, part[None], method="style_posterior")[0]
  monkeypatch.setitem(model.card, "frames", 4)
  wanted = (posterior(codes[:4]) + posterior(codes[4:8])) / 2
  np.testing.assert_allclose(model.style_of(frames), wanted, rtol=1e-4, atol=1e-5)
  assert not np.allclose(model.style_of(frames), posterior(codes), atol=1e-3)  # which padding sets apart
  short = jnp.asarray(model.encode(frames[:3]), jnp.int32)
  np.testing.assert_allclose(model.style_of(frames[:3]), posterior(short), rtol=1e-4, atol=1e-5)


def test_a_style_clip_is_encoded_by_the_sampler_of_the_priors_tokens(model, monkeypatch):
  frames = np.random.default_rng(1).integers(0, 255, (5, 32, 24, 3), np.uint8)
  likeliest, drawn = (model.encode(frames, key=key) for key in (None, reading_key("gumbel")))
  assert (likeliest != drawn).mean() > 0.02
  seen = []
  posterior = model._style_posterior
  monkeypatch.setitem(model.__dict__, "_style_posterior", lambda p, codes: seen.append(codes) or posterior(p, codes))
  assert "sampler" not in model.card  # as in the shipped ones, whose tokens are the likeliest
  for card, wanted in (({}, likeliest), ({"sampler": "argmax"}, likeliest), ({"sampler": "gumbel"}, drawn)):
    monkeypatch.setattr(model, "card", {**model.card, **card})
    model.style_of(frames)
    np.testing.assert_array_equal(seen.pop()[0], wanted)


def test_encode_in_chunks_is_encode_at_once(model):
  frames = np.random.default_rng(1).integers(0, 255, (13, 32, 24, 3), np.uint8)
  np.testing.assert_array_equal(model.encode(frames, chunk_frames=4), model.encode(frames, chunk_frames=13))


@pytest.mark.parametrize(
  "shape, kind", [((2, 32, 24, 3), np.float32), ((2, 64, 48, 3), np.uint8), ((0, 32, 24, 3), np.uint8)]
)
def test_frames_that_are_none_are_refused(model, shape, kind):
  with pytest.raises(InputError, match=r"wanted uint8 \[t, 32, 24, 3\]"):
    model.encode(np.zeros(shape, kind))


def test_written_video_has_the_frames_and_the_sound(model, speech, tmp_path):
  kept = []
  written = model.generate(speech, RATE, chunk_frames=8).write(tmp_path / "new" / "out.mp4", on_chunk=kept.append)
  frames = np.concatenate([chunk.frames for chunk in kept])
  assert written.frames == len(frames) == 31
  assert written.path == tmp_path / "new" / "out.mp4"
  again = video.read_video(written.path)
  assert again.shape == frames.shape
  sound = audio_files.read_audio(written.path)
  assert abs(len(sound) - len(speech)) <= RATE / 30
  assert [p.name for p in written.path.parent.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("name", ["a.gif", "a.webm", "a", "a.mp4.avi", "a.m4v", "a.mov", ".mp4", "folder.mp4"])
def test_another_name_than_an_mp4s_is_refused_before_anything_is_sampled(tiny_release, tmp_path, monkeypatch, name):
  model = api.NWT.from_checkpoint(tiny_release, "mar")
  monkeypatch.setattr(model, "run", lambda clips: pytest.fail("it was sampled"))
  (tmp_path / "folder.mp4").mkdir()
  with pytest.raises(InputError, match=f"{name}: .* give the name of an .mp4 file") as error:
    model.generate(np.zeros(RATE), RATE).write(tmp_path / name)
  assert len(str(error.value).splitlines()) == 1
  with pytest.raises(InputError, match="give the name of an .mp4 file"):
    video.write_video(str(tmp_path / name), np.zeros((2, 32, 24, 3), np.uint8))
  assert [path.name for path in tmp_path.iterdir()] == ["folder.mp4"]


def test_no_file_is_left_when_sampling_fails(model, speech, tmp_path):
  def stop(_):
    raise RuntimeError("stopped")

  with pytest.raises(RuntimeError, match="stopped"):
    model.generate(speech, RATE, chunk_frames=8).write(tmp_path / "out.mp4", on_chunk=stop)
  assert list(tmp_path.iterdir()) == []


def test_stereo_of_another_rate_is_heard_alike(model, speech):
  doubled = np.repeat(np.stack([speech, speech], axis=1), 2, axis=0)
  assert model.generate(doubled, 2 * RATE).frames == 31
  assert model.generate((speech * 32767).astype(np.int16), RATE).frames == 31


@pytest.mark.parametrize(
  "options, wanted",
  [
    ({"episode": "dan"}, "unknown episode 'dan'; choose from ann, bob, cy"),
    ({"episode": "ann,dan@0.5"}, "unknown episode 'dan'"),
    ({"episode": "ann,bob"}, "needs a time"),
    ({"episode": "ann,bob@x"}, "needs a time"),
    ({"episode": "ann,bob@0.5,cy@0.4"}, "needs a time after 0.5 s"),
    ({"episode": "ann,bob@9"}, "before the end at 1.03 s"),
    ({"episode": "ann@1"}, "starts the video"),
    ({"style": "1,2,3"}, "3 numbers"),
    ({"style": "99=1"}, "99=1"),
    ({"style": "loud"}, "loud"),
    ({"style_from": "none.mp4"}, "none.mp4 does not exist"),
    ({"temperature": float("nan")}, "temperature nan"),
    ({"temperature": -1.0}, "temperature -1.0"),
    ({"chunk_frames": 0}, "chunk_frames 0"),
  ],
)
def test_bad_requests_are_one_line(tiny_release, speech, options, wanted):
  model = api.NWT.from_checkpoint(tiny_release, "mar")
  with pytest.raises(InputError, match=re.escape(wanted)) as error:
    model.generate(speech, RATE, **options)
  assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
  "samples, rate, wanted",
  [
    (np.zeros(0, np.float32), RATE, "at least one"),
    (np.full(100, np.nan, np.float32), RATE, "100 samples that are NaN"),
    (np.zeros((2, 2, 2), np.float32), RATE, "give [samples]"),
    (np.zeros((2, 96_000), np.float32), RATE, "give samples.T"),
    (np.zeros((1, 96_000), np.int16), RATE, "give samples.T"),
    (np.zeros((6, 9)), RATE, "give samples.T"),
    (np.zeros((1000, 9)), RATE, "9 channels; give one of them"),
    (np.full(100, 3000.0), RATE, "divide 16-bit integers by 32768"),
    (np.zeros(100, np.int32), RATE, "(samples / 2**31)"),
    (np.zeros(100, np.uint8), RATE, "(samples / 2**7 - 1)"),
    (np.zeros(100, bool), RATE, "type bool"),
    (np.zeros(100, np.float32), 0, "rate"),
    (np.zeros(100, np.float32), None, "rate"),
  ],
)
def test_bad_arrays_are_one_line_that_says_what_to_do(tiny_release, samples, rate, wanted):
  model = api.NWT.from_checkpoint(tiny_release, "mar")
  with pytest.raises(InputError, match=re.escape(wanted)) as error:
    model.generate(samples, rate)
  assert len(str(error.value).splitlines()) == 1
  if samples.size and rate:
    with pytest.raises(InputError, match=re.escape(wanted)):
      model.stream(rate).feed(samples)


def test_overdriven_floats_and_pieces_of_few_samples_are_sound(tiny_release):
  model = api.NWT.from_checkpoint(tiny_release, "mar")
  assert model.generate(np.full(1600, 1.5), RATE).frames == 2
  assert model.generate(np.zeros((1600, 8)), RATE).frames == 2
  stream = model.stream(RATE)
  for shape in ((1, 2), (3, 6), (1, 1), (0, 2), 5):
    list(stream.feed(np.zeros(shape, np.float32)))
  assert stream._generation.sound.length == 10


def test_other_checkpoints_are_refused(tiny_release, tmp_path):
  with pytest.raises(InputError, match="has no mar model .no such folder"):
    api.NWT.from_checkpoint(tmp_path / "none")
  with pytest.raises(InputError, match="'dvae' cannot sample video; choose one of far, mar"):
    api.NWT.from_checkpoint(tiny_release, "dvae")
  for name in ("far.json", "far.safetensors", "dvae.json", "dvae.safetensors"):
    shutil.copy(tiny_release / name, tmp_path)
  with pytest.raises(InputError, match="has no mar model .it holds dvae, far"):
    api.NWT.from_checkpoint(tmp_path, "mar")
  card = json.loads((tmp_path / "far.json").read_text())
  (tmp_path / "far.json").write_text(json.dumps({**card, "dvae_sha256": "0" * 64}))
  with pytest.raises(InputError, match="another dVAE"):
    api.NWT.from_checkpoint(tmp_path, "far")


def test_a_dvae_alone_encodes_and_decodes_and_samples_nothing(tiny_release, model):
  alone = api.NWT.from_dvae(tiny_release)
  frames = np.random.default_rng(0).integers(0, 256, (3, 32, 24, 3), np.uint8)
  np.testing.assert_array_equal(alone.encode(frames), model.encode(frames))
  codes = alone.encode(frames)
  np.testing.assert_array_equal(alone.decode(codes, "bob"), model.decode(codes, "bob"))
  for use in (lambda: alone.generate(np.zeros(800), 24_000), lambda: alone.style_of(frames), alone.latency):
    with pytest.raises(InputError, match="load a prior"):
      use()
