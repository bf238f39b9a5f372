"""One head of a Memcode at a time: what it draws in video (Fig. 3b).

  python -m nwt_jax.analysis.video --output=out/edits
  python -m nwt_jax.analysis.video --checkpoint=DIR --input=clip.mp4 --row=4 --column=3 --output=out/edits

Encodes a clip, sets one head to each of its codes in turn and decodes. Writes edits_one.png (one Memcode changed) and
edits_neighbours.png (2 x 2 of them): a row for each head, the frame, its reconstruction, and a picture for each code.
"""

from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from nwt_jax import cli
from nwt_jax.errors import InputError

AROUND = 8  # frames decoded before and after the one in the figure, for the temporal layers


def define_flags() -> None:
  """Defines this program's options; in a function, so that tests can import the file beside other programs."""
  flags.DEFINE_string(
    "checkpoint", None, "Released weights or a training workdir, of either stage; without: the talker."
  )
  flags.DEFINE_string("input", None, "A video; without: the shipped clip of the talker.")
  flags.DEFINE_string("episode", None, "The episode to decode with; without: the shipped clip's, or the first.")
  flags.DEFINE_integer("frame", 0, "Frame to show, counted from 0 at 30 a second.", lower_bound=0)
  flags.DEFINE_integer("row", None, "Row of the Memcode from 0 at the top; without: below the middle.", lower_bound=0)
  flags.DEFINE_integer("column", None, "Its column from 0 at the left; without: the middle.", lower_bound=0)
  flags.DEFINE_string("output", None, "Folder for the figures.")


def main(_: Any) -> None:
  """Encodes, edits, decodes, draws."""
  options = flags.FLAGS
  import json

  # Before jax and the models are loaded: what does not fit is answered at once
  from nwt_jax.api import episodes
  from nwt_jax.io.disk import check_folder
  from nwt_jax.io.release import SHIPPED, load_card
  from nwt_jax.io.video import FPS, probe_video, read_video

  card, folder = load_card(options.checkpoint or SHIPPED, "dvae"), Path(options.output)
  episodes.check(card, FPS, 1, episode=options.episode)
  pixels = card["model"]["patch"] * 2 ** len(card["model"]["stages"])
  rows, columns = (card["video"][side] // pixels for side in ("height", "width"))
  row = rows * 5 // 8 if options.row is None else options.row
  column = columns // 2 if options.column is None else options.column
  if row >= rows or column >= columns:
    raise InputError(f"--row={row} --column={column} is outside the {rows} x {columns} Memcodes of a frame")
  probe_video(options.input or SHIPPED / "demo.mp4")
  check_folder(folder, "output")

  from nwt_jax.api import NWT
  from nwt_jax.io.image import write_png

  model = NWT.from_dvae(options.checkpoint)
  path, seconds = options.input or SHIPPED / "demo.mp4", (options.frame + AROUND + 1) / model.fps
  video = read_video(path, model.fps, model.height, model.width, length=seconds + 1)  # no more than is needed
  episode = options.episode
  if options.input is None and episode is None:
    name = json.loads((SHIPPED / "demo.json").read_text())["episode"]
    episode = name if name in model.episodes else None
  if options.frame >= len(video):
    raise InputError(f"--frame={options.frame} of a video with {len(video)} frames; they count from 0")
  for name, size in (("one", 1), ("neighbours", 2)):
    path = folder / f"edits_{name}.png"
    write_png(path, sheet(model, video, episode, options.frame, (row, column), size))
    print(path)


def sheet(
  model: Any, video: np.ndarray, episode: str | None, frame: int, position: tuple[int, int], size: int
) -> np.ndarray:
  """Draws a row for each head: the frame, its reconstruction, and the head set to each code.

  Args: model: an NWT. video: uint8 [t h w 3]. position: row and column of the first Memcode to change. size: side of
    the square of Memcodes that is changed at once. Returns: uint8 RGB.
  """
  from nwt_jax.analysis import figures, permutations

  first = max(frame - AROUND, 0)
  around = video[first : frame + AROUND + 1]
  codes = model.encode(around)
  draw = lambda edited: model.decode(edited, episode)[frame - first]
  square = np.s_[:, position[0] : position[0] + size, position[1] : position[1] + size]
  recon, pictures = draw(codes), []
  for head in range(codes.shape[-1]):
    edits = permutations.head_edits(codes, head, model.dvae.num_codes, square)
    pictures += [video[frame], recon, *map(draw, edits)]
  return figures.tiles(np.stack(pictures), 2 + model.dvae.num_codes)


if __name__ == "__main__":
  define_flags()
  cli.run(main, "output")
