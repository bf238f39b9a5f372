"""Export of stage 2: weights, the bank of styles, and the card that says what they are."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from nwt_jax.data.tokens import Tokens
from nwt_jax.generate import style
from nwt_jax.io.release import save_release
from nwt_jax.models.prior import Prior
from nwt_jax.train.stages.prior_data import style_windows
from nwt_jax.train.stages.prior_step import PriorState


def make_card(config: Any, metadata: dict, steps: int) -> dict:
  """Returns the facts that travel with the weights. Args: metadata: the tokens'. steps: updates made so far."""
  return {
    "model": config.model.to_dict(),
    "dvae_sha256": metadata["dvae_sha256"],
    "episodes": metadata["episodes"],
    "video": dict(metadata["video"]),
    "audio": {"sample_rate": metadata["sample_rate"]},
    "frames": config.data.frames,
    # The Memcodes' sampler; tokens without the field are older than it and were made with argmax
    "sampler": metadata.get("sampler", "argmax"),
    "data": {"fingerprint": metadata["fingerprint"], "clips_fingerprint": metadata["clips_fingerprint"]},
    "training": {"steps": steps, "config": config.to_json_best_effort()},
    "temperature": 1.0 if config.sample.temperature is None else config.sample.temperature,
    "generated": "Videos sampled from this model are generated.",
  }


def make_exporter(config: Any, prior: Prior, tokens: Tokens, dvae: Path) -> Callable[[PriorState, Path], None]:
  """Builds export(state, folder): writes a release of the prior, with the dVAE of its tokens beside it.

  Args: dvae: the release that the tokens were made with.
  """
  make_bank = jax.jit(functools.partial(style.bank, prior))
  windows = functools.cache(lambda: style_windows(tokens, config.sample.style_clips, config.data.frames))

  def export(state: PriorState, folder: Path) -> None:
    variables = dict(jax.device_get(state.prior))
    if config.sample.style_clips:
      variables["styles"] = jax.device_get(make_bank(variables, *windows()))
    card = make_card(config, tokens.metadata, int(state.step))
    save_release(folder, config.family, variables, card, config.train.export_dtype, dvae=dvae)

  return export
