"""Speech in, video out (2.3). As it stands it speaks the shipped sentence with the shipped model:

python -m nwt_jax.sample --config=configs/mar.py
python -m nwt_jax.sample --config=configs/far.py --audio=speech.wav --episode=NAME --output=out/speech.mp4
"""

from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from nwt_jax import cli
from nwt_jax.errors import InputError

SHIPPED_AUDIO = Path(__file__).resolve().parent / "released" / "talker" / "demo.wav"


def define_flags() -> None:
  """Defines this program's options; in a function, so that tests can import the file beside other programs."""
  config_flags.DEFINE_config_file("config", None, "configs/mar.py (as without it) or configs/far.py: the defaults.")
  flags.DEFINE_string("checkpoint", None, "Released weights or a training workdir; without: the shipped talker.")
  flags.DEFINE_string("audio", str(SHIPPED_AUDIO), "Speech: any sound file, or the sound of a video.")
  flags.DEFINE_string("output", "out/sample.mp4", "Video to write.")
  seed: dict[str, Any] = {"lower_bound": 0, "upper_bound": 2**32 - 1}
  flags.DEFINE_integer("seed", 0, "Seed of the noise; the same seed gives the same video.", **seed)
  flags.DEFINE_float("temperature", None, "0 takes the likeliest codes; without: the config's, or the checkpoint's.")
  flags.DEFINE_string("episode", None, "Appearance: NAME, or with changes (in s) A,B@2.5,A@5.0; without: the first.")
  flags.DEFINE_integer("style_seed", None, "Seed of the style; without: --seed.", **seed)
  flags.DEFINE_string("style_from", None, "Video whose style is copied.")
  flags.DEFINE_string("style", None, 'Style variates set by hand, counted from 0: "3=+2.0, 5=-1".')
  words = ["float32", "bfloat16"]
  flags.DEFINE_enum("precision", words[0], words, "Of the decoders; the second is faster on GPUs, with other samples.")
  flags.DEFINE_integer(
    "places", None, "Positions whose Memcodes MAR draws together; changes speed alone.", lower_bound=1
  )
  flags.DEFINE_integer("chunk_frames", None, "Frames sampled at once; changes memory and speed alone.", lower_bound=1)


def main(_: Any) -> None:
  """Reads the flags and writes the video."""
  options = flags.FLAGS
  family, defaults = "mar", {}
  if options.config is not None:
    family, defaults = options.config.family, options.config.get("sample", {})
    if family not in ("far", "mar"):
      raise InputError(f"--config is of family {family!r}; sampling takes configs/mar.py or configs/far.py")

  # Before jax and the models are loaded: what does not fit is answered at once
  from nwt_jax.api import episodes
  from nwt_jax.io.audio_stream import open_sound
  from nwt_jax.io.disk import check_folder
  from nwt_jax.io.release import SHIPPED, load_card
  from nwt_jax.io.video import FPS, check_name, probe_video

  output = check_name(options.output)
  checkpoint = options.checkpoint or defaults.get("checkpoint") or SHIPPED
  temperature = defaults.get("temperature") if options.temperature is None else options.temperature
  asked: dict[str, Any] = {"temperature": temperature, "episode": options.episode, "style": options.style}
  recording = open_sound(options.audio)
  episodes.check(load_card(checkpoint, family), FPS, recording.frames, **asked)
  if options.style_from is not None:
    probe_video(options.style_from)
  check_folder(output.parent, "output")

  from nwt_jax.api import NWT
  from nwt_jax.api.model import CHUNK_FRAMES
  from nwt_jax.io.progress import Progress

  model = NWT.from_checkpoint(
    checkpoint,
    family,
    precision=options.precision,
    positions=options.places,
  )
  tile = f", up to {model.options.positions} Memcodes at once" if family == "mar" else ""
  print(f"{family} on {model.device}: {model.options}{tile}", flush=True)
  generation = model.generate(
    recording,
    seed=options.seed,
    **asked,
    style_seed=options.style_seed,
    style_from=options.style_from,
    chunk_frames=options.chunk_frames or defaults.get("chunk_frames") or CHUNK_FRAMES,
  )
  bar = Progress("sample", generation.frames, "frames", "compiling")
  written = generation.write(output, lambda chunk: bar.step(len(chunk.frames)))
  print(
    f"{written.path}: {written.frames} frames, {written.frames / model.fps:.1f} s of video in {written.seconds:.1f} s "
    f"({written.frames / written.seconds:.1f} frames a second with compilation), {family}"
  )


if __name__ == "__main__":
  define_flags()
  cli.run(main)
