"""ClipRecord: one clip on its way through preparation; each step takes records and returns new ones (appendix D)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

FAULTS = {
  "unreadable": "no video file, or none that decodes",
  "damaged": "the decoder finds errors",
  "mid_group": "starts between key frames: grey pictures until the next one",
  "no_picture": "no picture stream",
  "no_sound": "no sound stream",
  "out_of_sync": "sound and picture do not start or end together",
  "too_large": "more than can be taken in",
  "crop_outside": "the box to keep does not fit the picture",
}
FLAGS = {
  "no_face": "no face in half of the pictures looked at",
  "several_faces": "more than one face in two of the pictures looked at",
  "cut": "a cut inside",
  "frozen": "the picture stands still for a second",
  "black": "a black second, or half of the clip",
  "silent": "silence",
  "clipped": "sound beyond full scale",
  "cancelled": "the sound's channels cancel: one of them is taken",
  "sync": "the sound does not come with the mouth",
  "duplicate": "another clip is the same recording",
  "hdr": "high dynamic range, brought to the standard one",
  "face_outside": "the face leaves the part of the picture that is kept",
}


@dataclass(frozen=True)
class ClipRecord:
  """A clip, and the facts that the steps so far have found about it.

  A fault concerns the file (it cannot be decoded, is damaged, lacks sound): such a clip is rejected. A flag concerns
  the content (no face, a cut, silence): such a clip is kept until a reviewer or --auto decides otherwise.
  """

  name: str
  episode: str
  source: str  # clips of one source stay in one split (D.10)

  # The origin of the clip (D.1, D.2).
  recording: str = ""  # name of the recording in the user's list
  take: str = ""  # clips of one take share one offset between sound and picture, and one box
  origin: str = ""  # path or address of the recording
  path: str = ""  # the file to read: the recording, its download, or a segment of it; "": it could not be downloaded
  file_start: float = 0.0  # where in the recording the file begins, seconds
  segment: bool = False  # whether the file was cut from the recording
  talker: tuple[int, int] | None = None  # instead of a file: seed and index of the synthetic talker's performance

  # The part of the file that is the clip, seconds (length None: to its end), and the part of the picture that is kept:
  # a Box's text, "" for all of it (D.3, D.4).
  start: float = 0.0
  length: float | None = None
  crop: str = ""

  # The results of examination (D.5).
  fault: str = ""  # one of FAULTS, "" for none
  reason: str = ""  # why it is left out
  flags: Sequence[str] = ()  # of FLAGS
  facts: Mapping[str, Any] = field(default_factory=dict)  # sha256, duration, frames, fps, width, height, ...
  shown: Sequence[int] = (0, 0)  # width and height of the picture as shown, pixels
  strip: int = 0  # pictures in its strip
  heads: Sequence = ()  # for each of these pictures its faces, see faces.find
  shape: str = ""  # of the face, see faces.find
  print: str = ""  # the sound's fingerprint, in base64
  sync: Mapping[str, Any] | None = None  # offset of the sound, see offsets.estimate_offsets

  # The decision.
  kept: bool = True
  decided_by: str = ""

  @property
  def begin(self) -> float:
    """The time at which the clip begins in its recording, seconds."""
    return self.file_start + self.start

  @property
  def seconds(self) -> float:
    """The clip's length, seconds; 0 where it is not known."""
    return self.length or 0.0

  @property
  def key(self) -> str:
    """The file and the part of it that is read, as text: the key of results in OUTPUT.work, so it must not change."""
    if self.talker:
      return "TalkerClip(name={!r}, seed={!r}, index={!r}, episode={!r})".format(self.name, *self.talker, self.episode)
    parts = {name: getattr(self, name) for name in ("name", "path", "start", "length", "crop")}
    return f"FileClip({', '.join(f'{name}={value!r}' for name, value in parts.items())})"

  def with_fault(self, fault: str, reason: str) -> "ClipRecord":
    """Returns the clip with a fault. Args: fault: one of FAULTS. reason: a line: what is wrong, and what to do."""
    return replace(self, fault=fault, reason=reason)

  def with_flags(self, *flags: str) -> "ClipRecord":
    """Returns the clip with further FLAGS."""
    return replace(self, flags=[*self.flags, *flags])


def log_faults(clips: Iterable[ClipRecord], log: Callable) -> None:
  """Logs the reason for each clip that is left out."""
  for clip in clips:
    if clip.fault:
      log(f"left out: {clip.reason}")
