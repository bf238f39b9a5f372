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
  """A clip, and what is known of it so far.

  A fault is the file's (it cannot be decoded, is damaged, lacks sound): such a clip is rejected. A flag is about what
  it shows (no face, a cut, silence): the clip is kept until somebody decides otherwise.
  """

  name: str
  episode: str
  source: str  # clips of one source stay in one split (D.10)

  # Where it comes from (D.1, D.2).
  recording: str = ""  # the name of what the user listed
  take: str = ""  # the sound and the picture of the clips of one take share one offset, and one box
  origin: str = ""  # path or address of the recording
  path: str = ""  # the file to read: the recording, its download, or a segment of it; "": it could not be had
  file_start: float = 0.0  # where in the recording the file begins, seconds
  segment: bool = False  # whether the file was cut from the recording
  talker: tuple[int, int] | None = None  # in place of a file: seed and index of what the synthetic talker performs

  # The part of the file that is the clip, seconds (length None: to its end), and the part of the picture that is kept:
  # a Box's text, "" for all of it (D.3, D.4).
  start: float = 0.0
  length: float | None = None
  crop: str = ""

  # What examination found (D.5).
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

  # What was decided.
  kept: bool = True
  decided_by: str = ""

  @property
  def begin(self) -> float:
    """Where the clip begins in its recording, seconds."""
    return self.file_start + self.start

  @property
  def seconds(self) -> float:
    """Its length; 0 where that is not known."""
    return self.length or 0.0

  @property
  def key(self) -> str:
    """What is read of which file, as text. Results in OUTPUT.work are filed under it: it must not change."""
    if self.talker:
      return "TalkerClip(name={!r}, seed={!r}, index={!r}, episode={!r})".format(self.name, *self.talker, self.episode)
    parts = {name: getattr(self, name) for name in ("name", "path", "start", "length", "crop")}
    return f"FileClip({', '.join(f'{name}={value!r}' for name, value in parts.items())})"

  def with_fault(self, fault: str, reason: str) -> "ClipRecord":
    """The same clip, at fault. Args: fault: one of FAULTS. reason: a line that says what is wrong, and what to do."""
    return replace(self, fault=fault, reason=reason)

  def with_flags(self, *flags: str) -> "ClipRecord":
    """The same clip with more of FLAGS."""
    return replace(self, flags=[*self.flags, *flags])


def log_faults(clips: Iterable[ClipRecord], log: Callable) -> None:
  """Says why clips are left out."""
  for clip in clips:
    if clip.fault:
      log(f"left out: {clip.reason}")
