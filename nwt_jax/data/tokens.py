"""Tokenized clips: codes sampled once per clip by the trained dVAE (2.2.1), with the clip's mel."""

import json
import os
from collections.abc import Iterable, Mapping, Sized

import numpy as np

from nwt_jax.data import dataset
from nwt_jax.data.clips import Records, as_text
from nwt_jax.io.mel import MEL_FRAMES

TOKENIZE = "python -m nwt_jax.main --config=configs/tokenize.py --workdir=DIR"
RECORDS_PER_SHARD = 1024


def write_tokens(
  output: str | os.PathLike,
  splits: Mapping[str, Iterable[Mapping]],
  metadata: Mapping,
  counts: Mapping[str, int] | None = None,
  overwrite: bool = False,
) -> dict:
  """Writes a token data set; whole, or not at all.

  Args:
    output: folder to make.
    splits: for each split its clips, read once: name, episode (int), codes uint8 [t, i, j, k], mel float32 [4 t, 80],
      truth (dict, or None).
    metadata: must hold height, width (rows and columns of the codes), heads, codes (symbols per head), episodes (names)
      and dvae_sha256; the rest is kept as it is (clips_fingerprint, fps).
    counts: clips of each split, so that they can stream; without it an iterable without length is first collected.
    overwrite: replace a data set that is there.
  Returns: the metadata, as written.
  Raises: InputError: `output` is in use. ValueError: codes do not fit the metadata or the mel.
  """
  for key in ("height", "width", "heads", "codes", "episodes", "dvae_sha256"):
    if key not in metadata:
      raise ValueError(f"the metadata of tokens needs {key!r}")
  grid = (metadata["height"], metadata["width"], metadata["heads"])

  def records(clips):
    for clip in clips:
      codes, mel = np.asarray(clip["codes"]), np.asarray(clip["mel"], np.float32)
      if codes.shape[1:] != grid or codes.min() < 0 or codes.max() >= metadata["codes"]:
        raise ValueError(f"codes of {clip['name']}: {codes.shape}, {codes.min()}..{codes.max()}; wanted [t, {grid}]")
      if len(mel) != MEL_FRAMES * len(codes):
        raise ValueError(f"{clip['name']} has {len(codes)} frames and {len(mel)} mel rows; wanted four rows a frame")
      truth = "" if clip.get("truth") is None else json.dumps(clip["truth"], sort_keys=True, allow_nan=False)
      yield {
        "name": clip["name"],
        "episode": int(clip["episode"]),
        "frame_count": len(codes),
        "codes": codes.astype(np.uint8),
        "mel": mel,
        "truth": truth,
      }

  if counts is None:
    splits = {split: clips if isinstance(clips, Sized) else list(clips) for split, clips in splits.items()}
    counts = {split: len(clips) for split, clips in splits.items()}
  counted = {split: (counts[split], records(clips)) for split, clips in splits.items()}
  features = dataset.token_features(*grid)
  hint = "give another --workdir, or remove that one"
  shard = RECORDS_PER_SHARD
  return dataset.write_dataset(output, "tokens", features, counted, metadata, shard, overwrite, hint)


class Tokens(Records):
  """One split of tokenized clips."""

  kind = "tokens"
  hint = TOKENIZE

  def __getitem__(self, i: int) -> dict:
    """Reads a whole clip.

    Returns: name str; episode int; codes uint8 [t, i, j, k]; mel float32 [4 t, 80]; truth dict or None.
    """
    record = self.record(i)
    truth = as_text(record["truth"])
    return {
      "name": as_text(record["name"]),
      "episode": int(record["episode"]),
      "codes": np.array(record["codes"]),
      "mel": np.array(record["mel"]),
      "truth": json.loads(truth) if truth else None,
    }

  def window(self, i: int, start: int, length: int, around: tuple[int, int] = (0, 0)) -> dict:
    """Reads the codes of some frames of a clip, and the mel of these frames and of frames around them.

    Args: i: the clip. start: first frame. length: frames. around: frames before and after whose mel is read too; it is
      zero where the clip has none.
    Returns: codes uint8 [length, i, j, k]; mel float32 [4 w, 80], w = length + sum(around); valid float32 [w], 1 for
      frames inside the clip; episode int32.
    Raises: ValueError: the clip ends before start + length.
    """
    self.check_window(i, start, length)
    record = self.record(i)
    first, stop = start - around[0], start + length + around[1]
    frames = np.arange(first, stop)
    valid = (frames >= 0) & (frames < self.index[i]["frames"])
    mel = record["mel"][MEL_FRAMES * max(first, 0) : MEL_FRAMES * stop]
    missing = MEL_FRAMES * max(-first, 0)
    return {
      "codes": np.array(record["codes"][start : start + length]),
      "mel": np.pad(mel, ((missing, MEL_FRAMES * len(frames) - missing - len(mel)), (0, 0))),
      "valid": valid.astype(np.float32),
      "episode": np.int32(record["episode"]),
    }
