"""Makes the clip that ships with the released talker: demo.wav, demo.json (truth) and demo.mp4 (truth as a picture).

  python scripts/demo_clip.py nwt_jax/released/talker

Needs the extra [talker]. The sentence is none of the training set's.
"""

import json
import sys
from pathlib import Path

from nwt_jax.io.audio import write_wav
from nwt_jax.io.video import VideoWriter
from nwt_jax.talker.clip import make_clip

SEED = 20211108  # no data set's
HEIGHT, WIDTH = 64, 56  # of the released models
TEXT = "Hello. I was drawn, and my lips follow every word."
COMMENT = "Drawn by nwt_jax/talker/clip.py: a synthetic talker with known mouth movement, not a recording."


def main(folder: str) -> None:
  clip = make_clip(SEED, 0, HEIGHT, WIDTH, episode="studio", style={"panel": "left"}, text=TEXT)
  out = Path(folder)
  out.mkdir(parents=True, exist_ok=True)
  write_wav(out / "demo.wav", clip.audio)
  with VideoWriter(out / "demo.mp4", 30, HEIGHT, WIDTH, clip.audio, comment=COMMENT) as writer:
    writer.write(clip.frames)
  truth = {"name": clip.name, "episode": clip.episode, **clip.truth}
  (out / "demo.json").write_text(json.dumps(truth) + "\n")


if __name__ == "__main__":
  main(*sys.argv[1:])
