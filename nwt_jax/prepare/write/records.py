"""Makes a record of a clip, which is read from a file or performed by the synthetic talker (appendix D.3 to D.9)."""

import functools
import json
from typing import Any

import cv2
import numpy as np

from nwt_jax.data import dataset
from nwt_jax.errors import InputError, MachineError
from nwt_jax.io import audio as sound
from nwt_jax.io import mel, video
from nwt_jax.io.box import Box
from nwt_jax.prepare.clip import ClipRecord
from nwt_jax.prepare.examine.decoding import prove_machine
from nwt_jax.prepare.options import Picture
from nwt_jax.prepare.write import overlay


def read_clip(clip: ClipRecord, picture: Picture) -> tuple[np.ndarray, np.ndarray, dict[str, Any] | None]:
  """Reads the frames and the sound of a clip.

  Returns: frames uint8 RGB [t, h, w, 3]; audio float32 [samples] at 24 kHz; the truth of the talker's clips, or None.
  Raises: InputError: the file cannot be read, or the talker has no espeak-ng.
  """
  if clip.talker is not None:
    from nwt_jax.talker import clip as talker  # heavy, and needs an extra

    size = (picture.height, picture.width, float(picture.fps))
    made = talker.make_clip(*clip.talker, *size, episode=clip.episode)
    return made.frames, made.audio, made.truth
  crop = Box.parse(clip.crop) if clip.crop else None
  part = {"start": clip.start, "length": clip.length}
  size = (None, None) if picture.overlay_mask else (picture.height, picture.width)  # D.6 comes before D.7
  frames = video.read_video(clip.path, picture.fps, *size, crop, motion=picture.interpolate == "motion", **part)  # ty: ignore[invalid-argument-type]
  if picture.overlay_mask:
    shrinks = picture.height <= frames.shape[1] and picture.width <= frames.shape[2]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    frames = overlay.mask(frames, video.probe(clip.path).shown[1])
    frames = np.stack([cv2.resize(frame, (picture.width, picture.height), interpolation=method) for frame in frames])
  return frames, sound.read_audio(clip.path, **part), None  # ty: ignore[invalid-argument-type]


def talker_clips(count: int, seed: int) -> list[ClipRecord]:
  """Returns clips for the synthetic talker to perform, its episodes in turn. Args: seed: selects the performance."""
  from nwt_jax.talker.people import EPISODES

  clips = []
  for index in range(count):
    name, episode = f"talker_{seed}_{index:05d}", EPISODES[index % len(EPISODES)]
    clips.append(ClipRecord(name, episode, f"clip {name}", talker=(seed, index)))
  return clips


def make_record(clip: ClipRecord, episode: int, picture: Picture) -> dict[str, Any]:
  """Reads a clip and encodes it. Args: episode: its number. Raises: InputError: it cannot be read or is empty."""
  return encode_clip(clip.name, episode, *read_clip(clip, picture), picture)


def encode_clip(
  name: str, episode: int, frames: np.ndarray, audio: np.ndarray, truth: dict[str, Any] | None, picture: Picture
) -> dict[str, Any]:
  """Encodes what `read_clip` returns as a record (dataset.clip_features).

  The sound is cut or padded with silence to the length of the picture, so that four mel rows belong to each frame.
  """
  samples = len(frames) * sound.SAMPLE_RATE // picture.fps
  audio = sound.to_int16(np.pad(audio[:samples], (0, max(0, samples - len(audio)))))
  return {
    "name": name,
    "episode": episode,
    "frame_count": len(frames),
    "frames": [encode_image(frame, picture.image_format) for frame in frames],
    # From the rounded samples, so that log_mel of the stored sound is the stored mel.
    "mel": mel.log_mel(sound.from_int16(audio), len(frames)),
    "audio": audio,
    "truth": "" if truth is None else json.dumps(truth, sort_keys=True, allow_nan=False),
  }


def encode_image(frame: np.ndarray, image_format: str) -> bytes:
  """Encodes one frame as JPEG (quality 95, colour at full resolution) or PNG. Args: frame: uint8 RGB [h, w, 3].

  GAP: the paper does not say how frames are stored."""
  image = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR)
  if image_format == "png":
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 4])[1].tobytes()
  parameters = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
  return cv2.imencode(".jpg", image, parameters)[1].tobytes()


def try_record(job: tuple[ClipRecord, int, Picture]) -> tuple[str, tuple[dict, bytes] | None, str]:
  """Makes a serialized record, or gives the reason why it cannot.

  Args: job: (clip, episode number, Picture). Returns: the clip's name, the record (see dataset.Serializer) or None, the
    reason or "".
  Raises: InputError: the talker cannot speak, which concerns every clip. MachineError: this machine can read no clip.
  """
  clip, episode, picture = job
  try:
    return clip.name, _serializer()(make_record(clip, episode, picture)), ""
  except InputError as error:
    if clip.talker is not None:
      raise
    prove_machine()  # before the file is blamed
    return clip.name, None, str(error)
  except OSError as error:
    raise MachineError(f"{clip.name}: {error.filename or ''} {error.strerror}; then try again") from error


@functools.cache
def _serializer():
  return dataset.Serializer(dataset.clip_features())
