"""The first thing to run: the shipped MAR speaks the shipped sentence, beside the truth that came with it.

python -m nwt_jax.demo --output=out/demo
"""

import base64
import html
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from nwt_jax import cli

SHIPPED = Path(__file__).resolve().parent / "released" / "talker"
SEED = 0


def define_flags() -> None:
  """Defines this program's options; in a function, so that tests can import the file beside other programs."""
  flags.DEFINE_string("output", "out/demo", "Folder for demo.mp4, codes.npz and report.html.")
  flags.DEFINE_string("checkpoint", str(SHIPPED), "Folder with mar and dvae weights.")


def main(_: Any) -> None:
  """Samples and reports."""
  folder = Path(flags.FLAGS.output)
  from nwt_jax.io.disk import check_folder
  from nwt_jax.io.release import load_card

  load_card(flags.FLAGS.checkpoint, "mar")
  check_folder(folder, "output")
  print("Loading the shipped MAR, and compiling it for this machine ...", flush=True)
  facts = make(Path(flags.FLAGS.checkpoint), SHIPPED, folder)
  print(
    f"{speed(facts)}\n"
    f"mouth opening of generated and true frames: {lips(facts)}\n"
    f"  {folder / 'report.html'}   generated beside true frames\n"
    f"  {folder / 'demo.mp4'}      the video with its sound\n"
    f"  {folder / 'codes.npz'}     the Memcodes it was decoded from\n"
    "Next, another face and another seed:\n"
    f"  {python()} -m nwt_jax.sample --config=configs/mar.py --seed=1 "
    f"--episode={facts['other']} --output=out/sample.mp4"
  )


def python() -> str:
  """This interpreter as one would type it: relative where it lies below the working directory."""
  path = os.path.relpath(sys.executable)
  return sys.executable if path.startswith("..") else path


def speed(facts: dict) -> str:
  """Formats the speed of sampling."""
  whole = f"{facts['frames']} frames in {facts['seconds']:.1f} s with compilation"
  return f"{whole}, {facts['rate']:.0f} frames a second after it"


def lips(facts: dict) -> str:
  """Formats how the generated mouth follows the true one; this is unknown where a mouth does not move."""
  if facts["correlation"] is None:
    return "correlation unknown (one of them does not move)"
  return f"correlation {facts['correlation']:.2f}, best at lag {facts['lag']}"


def make(checkpoint: Path, clip: Path, folder: Path) -> dict:
  """Samples the clip's speech, measures the mouth, writes the three files.

  Args: checkpoint: released weights. clip: folder with demo.wav, demo.json and demo.mp4. folder: where to write.
  Returns: what the report says, as numbers.
  """
  truth = json.loads((clip / "demo.json").read_text())

  from nwt_jax.api import NWT
  from nwt_jax.generate.session import Chunk
  from nwt_jax.io.video import read_video
  from nwt_jax.talker.lips import best_lag, correlation, mouth_opening

  model = NWT.from_checkpoint(checkpoint)
  generation = model.generate(clip / "demo.wav", seed=SEED, episode=truth["episode"])
  chunks, ends = [], []

  def keep(chunk) -> None:
    chunks.append(chunk)
    ends.append(time.perf_counter())

  written = generation.write(folder / "demo.mp4", keep)
  video = Chunk.join(chunks)
  frames, codes = video.frames, video.codes
  np.savez_compressed(folder / "codes.npz", codes=codes)
  later = written.frames - len(chunks[0].frames)  # the first chunk waits for the compiler
  true_frames = read_video(clip / "demo.mp4")
  tracks = {
    "truth": np.asarray(truth["opening"], float),
    "ruler on true frames": mouth_opening(true_frames),
    "ruler on generated frames": mouth_opening(frames),
  }
  generated, real = tracks["ruler on generated frames"], tracks["truth"]
  facts = {
    "frames": written.frames,
    "seconds": written.seconds,
    "rate": later / max(ends[-1] - ends[0], 1e-9) if later else written.frames / written.seconds,
    "correlation": correlation(real, generated),
    "lag": best_lag(real, generated),
    "text": truth["text"],
    "episode": truth["episode"],
    "other": next((name for name in model.episodes if name != truth["episode"]), truth["episode"]),
    "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_device()}",
  }
  page = report(facts, tracks, model.fps, folder / "demo.mp4", clip / "demo.mp4", strip(frames, true_frames))
  partial = folder / "report.html.partial"
  partial.write_text(page, encoding="utf-8")
  os.replace(partial, folder / "report.html")
  return facts


def _device() -> str:
  import jax

  return f"{jax.devices()[0].device_kind} through jax {jax.__version__}"


def strip(generated: np.ndarray, true: np.ndarray, count: int = 8) -> bytes:
  """Frames at equal distances, generated above true, as a PNG."""
  import cv2

  at = np.linspace(0, min(len(generated), len(true)) - 1, count).astype(int)
  height, width = generated.shape[1:3]
  rows = [generated[at], [cv2.resize(true[index], (width, height), interpolation=cv2.INTER_AREA) for index in at]]
  picture = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
  return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()


def report(facts: dict, tracks: dict[str, np.ndarray], fps: float, generated: Path, true: Path, stills: bytes) -> str:
  """A page that needs no server and no network: both videos, stills, the mouth's tracks, the speed."""
  rows = {
    "said": facts["text"],
    "episode": facts["episode"],
    "mouth opening, generated against truth": lips(facts),
    "speed": speed(facts),
    "machine": facts["machine"],
  }
  table = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows.items())
  return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>nwt_jax demo</title><style>
body {{ font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
figure {{ display: inline-block; margin: 0 1.5rem 1rem 0 }}
video {{ width: 18rem; max-width: 45vw; image-rendering: auto; background: #000 }}
th {{ text-align: left; font-weight: normal; color: #666; padding-right: 1.5rem; vertical-align: top }}
svg, img {{ width: 100%; height: auto }}
</style></head><body>
<h1>Speech in, video out</h1>
<p>Left: sampled from the sound alone by the shipped MAR and decoded by its dVAE. Right: the synthetic talker that spoke
the sentence. Head motion and blinks are free; lips should agree.</p>
<figure>{_video(generated)}<figcaption>generated</figcaption></figure>
<figure>{_video(true)}<figcaption>true</figcaption></figure>
<p><img alt="stills, generated above true" src="data:image/png;base64,{base64.b64encode(stills).decode()}"></p>
<h2>Mouth opening</h2>
{_chart(tracks, fps)}
<table>{table}</table>
</body></html>
"""


def _video(path: Path) -> str:
  data = base64.b64encode(path.read_bytes()).decode()
  return f'<video controls loop src="data:video/mp4;base64,{data}"></video>'


def _chart(tracks: dict[str, np.ndarray], fps: float, width: int = 900, height: int = 220) -> str:
  """The tracks over time as an SVG, each scaled to its own range (the ruler has a constant of its own)."""
  longest = max(len(track) for track in tracks.values())
  lines, key = [], []
  for number, ((name, track), colour) in enumerate(zip(tracks.items(), ("#222", "#2a7", "#d40"), strict=True)):
    low, span = float(track.min()), max(float(np.ptp(track)), 1e-9)
    points = " ".join(
      f"{width * t / max(longest - 1, 1):.1f},{10 + (height - 20) * (1 - (value - low) / span):.1f}"
      for t, value in enumerate(track)
    )
    lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    key.append(f'<text x="{8 + 230 * number}" y="{height + 34}" fill="{colour}">{html.escape(name)}</text>')
  for second in range(int(longest / fps) + 1):
    x = width * second * fps / max(longest - 1, 1)
    lines.append(f'<text x="{x:.1f}" y="{height + 14}" font-size="11" fill="#888">{second} s</text>')
  return f'<svg viewBox="0 0 {width} {height + 42}" role="img" aria-label="mouth opening">{"".join(lines + key)}</svg>'


if __name__ == "__main__":
  define_flags()
  cli.run(main)
