"""Export of stage 1: the generator's weights, and the card that says what they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from nwt_jax.io.release import save_release
from nwt_jax.train.stages.dvae_step import DVAEState


def make_card(config: Any, metadata: dict, steps: int) -> dict:
  """Returns the facts that travel with the weights. Args: metadata: the clips'. steps: updates made so far."""
  return {
    "model": config.model.to_dict(),
    "episodes": metadata["episodes"],
    "video": {name: metadata[name] for name in ("fps", "height", "width")},
    "audio": {"sample_rate": metadata["sample_rate"]},
    "data": {"fingerprint": metadata["fingerprint"]},
    "training": {"steps": steps, "config": config.to_json_best_effort()},
    "generated": "Pictures decoded by this model are generated.",
  }


def make_exporter(config: Any, metadata: dict) -> Callable[[DVAEState, Path], None]:
  """Builds export(state, folder): writes a release of the generator. Args: metadata: the clips'."""

  def export(state: DVAEState, folder: Path) -> None:
    card = make_card(config, metadata, int(state.step))
    save_release(folder, "dvae", jax.device_get(state.gen), card, config.train.export_dtype)

  return export
