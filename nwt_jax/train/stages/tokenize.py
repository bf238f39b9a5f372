"""Tokenizes clips between the stages: Memcodes are sampled once from the frozen dVAE (2.2.1)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nwt_jax import build
from nwt_jax.data import origins
from nwt_jax.data.clips import Clips
from nwt_jax.data.tokens import write_tokens
from nwt_jax.generate.render import make_encoder
from nwt_jax.io.progress import Progress
from nwt_jax.io.release import load_release
from nwt_jax.train.preflight import inputs, values

SPLITS = ("train", "validation", "test")


def tokenize(config: Any, workdir: Path) -> None:
  """Writes a token data set to `workdir`.

  Args: config: `dvae` is a release of stage 1, `data.path` a prepared data set, `sampler` "gumbel" (2.2.1: "sampling
    from q yielded more dynamic results") or "argmax", `chunk_frames` the frames encoded at once.
  Raises: InputError: a dVAE of other episodes than the data's, or an unknown sampler.
  """
  values.check(config)
  splits = {split: Clips(config.data.path, split) for split in SPLITS}
  metadata = splits["train"].metadata
  inputs.check_episodes(config, metadata)
  params, card = load_release(config.dvae, "dvae")
  model = build.dvae(card["model"])
  encode = make_encoder(lambda p, v, valid: model.apply(p, v, valid, method="encode"), model.encoder_margins)
  params = jax.device_put(params)
  total = sum(len(clips) for clips in splits.values())
  bar = Progress("tokenize", total, first="compiling")
  histogram = np.zeros((model.num_heads, model.num_codes), np.int64)
  changes = np.zeros(2, np.int64)  # symbols that differ from the frame before, and all that could

  def examples(index: int, clips: Clips) -> Iterator[dict]:
    nonlocal changes
    split_key = jax.random.fold_in(jax.random.key(config.seed), index)
    for number in range(len(clips)):
      clip = clips[number]
      key = jax.random.fold_in(split_key, number) if config.sampler == "gumbel" else None
      codes = encode(params, clip["video"][None], config.chunk_frames, key)[0]
      for head in range(model.num_heads):
        histogram[head] += np.bincount(codes[..., head].ravel(), minlength=model.num_codes)
      changes += np.count_nonzero(codes[1:] != codes[:-1]), codes[1:].size
      bar.step()
      yield {
        "name": clip["name"], "episode": clip["episode"], "codes": codes, "mel": clip["mel"], "truth": clip["truth"],
      }  # fmt: skip

  facts = {
    **{name: metadata[name] for name in ("fps", "sample_rate", "episodes")},
    "video": {name: metadata[name] for name in ("fps", "height", "width")},
    "clips": origins.relative(config.data.path, workdir),
    "clips_fingerprint": metadata["fingerprint"],
    "dvae": origins.relative(config.dvae, workdir),
    "dvae_sha256": card["sha256"],
    "sampler": config.sampler,
    "heads": model.num_heads,
    "codes": model.num_codes,
    "height": metadata["height"] // model.downsampling,
    "width": metadata["width"] // model.downsampling,
  }
  examples_of = {split: examples(i, clips) for i, (split, clips) in enumerate(splits.items())}
  write_tokens(workdir, examples_of, facts, counts={split: len(clips) for split, clips in splits.items()})
  bar.close()
  used = (histogram > 0).sum(axis=1)
  print(f"codes in use a head: {' '.join(map(str, used))} of {model.num_codes}", flush=True)
  if changes[1]:
    print(f"symbols that differ from the frame before: {changes[0] / changes[1]:.1%}", flush=True)
  print(f"done: {workdir} holds the Memcodes of {total} clips", flush=True)
