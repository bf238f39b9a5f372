"""Evaluation of stage 1: similarity and pictures of held-out reconstructions, and a warning when codebooks collapse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nwt_jax.data.clips import Clips
from nwt_jax.generate.render import make_decoder, make_draw, make_encoder
from nwt_jax.metrics.similarity import ssim
from nwt_jax.models.dvae import DVAE
from nwt_jax.train.runtime.pictures import write_grid, write_pairs
from nwt_jax.train.stages.dvae_step import DVAEState

PROGRESS = ("loss/recon", "loss/pixel", "loss/kl", "loss/gradient_penalty", "codes/used", "codes/perplexity")
CLIPS_FOR_PICTURES = 4


def make_evaluator(config: Any, model: DVAE, fps: int) -> Callable[[DVAEState, Path], dict[str, float]]:
  """Builds evaluate(state, folder) -> metrics: SSIM of `eval.clips` held-out clips to their reconstructions.

  Args: model: the generator. fps: the clips' frames per second.
  """
  encode = make_encoder(lambda p, v, valid: model.apply(p, v, valid, method="encode"), model.encoder_margins)
  draw = make_draw(lambda p, c, e, valid: model.apply(p, c, e, valid, method="decode"), model.decoder_margins)
  decode = make_decoder(draw, model.decoder_margins)
  held_out = Clips.held_out(config.data.path).excerpts(config.eval.clips, config.eval.frames)

  def evaluate(state: DVAEState, folder: Path) -> dict[str, float]:
    pairs, ssims = [], []
    for clip in held_out:
      real = clip["video"]
      codes = encode(state.gen, real[None], config.eval.chunk_frames)
      episodes = np.full(codes.shape[:2], clip["episode"], np.int32)
      recon = decode(state.gen, codes, episodes, config.eval.chunk_frames)[0]
      ssims.append(float(np.mean(ssim(real, recon))))
      pairs.append((real, recon))
    few, audios = pairs[:CLIPS_FOR_PICTURES], [clip["audio"] for clip in held_out[:CLIPS_FOR_PICTURES]]
    write_grid(folder / "real_above_reconstruction.png", [clip for pair in few for clip in pair])
    write_pairs(folder / "real_beside_reconstruction.mp4", few, audios, fps)
    return {"ssim": float(np.mean(ssims)), "ssim_min": float(np.min(ssims))}

  return evaluate


def collapse_warning(num_codes: int, memcodes: int) -> Callable[[dict[str, float]], str | None]:
  """Builds warn(metrics) -> a line about codebook collapse, or None.

  It warns where some head uses a single code, or fewer than a quarter of the codes that it could use: no head can use
  more codes than it has, nor more than a batch has Memcodes.

  Args: num_codes: codes of a head. memcodes: number of frames in a batch, each of which has at least one Memcode; where
    gradients are accumulated, number of frames in a part, because codes are then counted part by part.
  """
  least_expected = max(min(2, memcodes), min(num_codes, memcodes) // 4)

  def warn(metrics: dict[str, float]) -> str | None:
    least = metrics["codes/used_min"]
    if least >= least_expected:
      return None
    perplexity = (f"{value:.1f}" for name, value in metrics.items() if name.startswith("codes/perplexity_by_head"))
    return (
      f"codebook collapse: a head uses {least:.0f} of {num_codes} codes; perplexity by head {' '.join(perplexity)} "
      "(see models.memcodes.Query)"
    )

  return warn
