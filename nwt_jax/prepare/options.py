"""The options of a preparation, under the names of the program's flags (appendix D)."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from nwt_jax import names
from nwt_jax.errors import InputError
from nwt_jax.io import audio, mel
from nwt_jax.io.box import Box, BoxOf
from nwt_jax.metrics import face
from nwt_jax.prepare.examine import crops
from nwt_jax.prepare.review import manifest

# PAPER: D.3, 507 to 1130 left to right and 0 to 712 from the bottom. GAP: of 1280 x 720, the one common size it fits
LWT_BOX = "623x712+507+8@1280x720"
PRESETS = {
  "": {"split_seconds": 0.0, "trim": False, "crop": "", "overlay_mask": False, "episodes": None},
  "lwt": {"split_seconds": 4.0, "trim": True, "crop": LWT_BOX, "overlay_mask": True, "episodes": "recordings"},
}
ENGINES = ("local", "beam")
STEPS = ("", "acquire", "split", "examine")  # that a call can end after; "": none of them


@dataclass(frozen=True)
class Picture:
  """The format in which frames are stored.

  height, width: pixels. fps: frames per second. image_format: "jpeg" or "png". overlay_mask: whether bright boxes are
  covered (D.6). interpolate: how other frame rates become `fps`, "repeat" (repeat or drop frames) or "motion" (D.7).
  """

  height: int
  width: int
  fps: int
  image_format: str
  overlay_mask: bool = False
  interpolate: str = "repeat"


@dataclass(frozen=True)
class ExamineOptions:
  """Options of examination. Boxes are no part of it, because crops.py chooses them later: they may change.

  trim: whether clips lose their ends (D.4). faces: whether faces are looked for (D.5)."""

  trim: bool
  faces: bool


@dataclass(frozen=True)
class PrepareOptions:
  """The program's flags, which say more of each; exactly one of `input` and `talker` is given."""

  output: str | os.PathLike
  input: str | os.PathLike | None = None
  talker: int | None = None
  root: str | os.PathLike | None = None
  episodes: str | os.PathLike | None = None
  split_seconds: float = 0.0
  trim: bool = False
  crop: str | None = ""
  overlay_mask: bool = False
  interpolate: str = "repeat"
  faces: bool = True
  auto: Collection[str] = ()
  decisions: str | os.PathLike | None = None
  max_bad_fraction: float = 0.5
  stop_after: str = ""
  height: int = 256
  width: int = 224
  fps: int = 30
  seed: int = 0
  holdout_episodes: Sequence[str] = ()
  deal: str = ""
  image_format: str = "jpeg"
  records_per_shard: int = 32
  engine: str = "local"
  beam_options: str = ""
  workers: int = 1
  overwrite: bool = False

  @property
  def picture(self) -> Picture:
    """The format in which frames are stored."""
    return Picture(self.height, self.width, self.fps, self.image_format, self.overlay_mask, self.interpolate)

  @property
  def examine(self) -> ExamineOptions:
    """The options of examination; without the extra `faces` no faces are looked for."""
    return ExamineOptions(self.trim, self.faces and face.available())

  @property
  def dropped_flags(self) -> set[str]:
    """The flags whose clips are dropped without asking. Raises: InputError: --auto names an unknown flag."""
    return manifest.read_auto(self.auto)

  @property
  def download_height(self) -> int | None:
    """The height of the pictures to download, pixels: that of the pictures that the box refers to; None: the best."""
    box = Box.parse(self.crop) if self.crop and self.crop not in crops.FRAMINGS else None
    return box.picture[1] if isinstance(box, BoxOf) else None

  def read_decisions(self) -> Mapping[str, Mapping]:
    """Returns a reviewer's decision for each clip. Raises: InputError: see manifest.read_decisions."""
    return manifest.read_decisions(self.decisions) if self.decisions else {}

  def checked(self) -> "PrepareOptions":
    """Returns the options with names and boxes in one form. Raises: InputError: some options exclude each other."""
    if (self.input is None) == (self.talker is None):
      raise InputError("give either --input=RECORDINGS or --talker=N")
    if self.fps * mel.HOP * mel.MEL_FRAMES != audio.SAMPLE_RATE:
      raise InputError(
        f"--fps={self.fps}: the models hear four mel rows a frame, which is 30 frames a second; leave it out"
      )
    crop = crops.parse(self.crop)
    if self.talker is not None:
      for name in ("episodes", "crop", "split_seconds", "stop_after", "deal"):
        if getattr(self, name):
          raise InputError(
            f"--{name} (or --preset) belongs to --input; the talker has episodes, clips and a size of its own"
          )
    elif crop in crops.FRAMINGS and not self.examine.faces:
      raise InputError(f"--crop={crop} looks for faces: leave --nofaces out, or {face.INSTALL}")
    return replace(self, crop=crop, holdout_episodes=[names.plain(name) for name in self.holdout_episodes])
