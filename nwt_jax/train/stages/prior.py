"""Stage 2 assembled from a config: tokens, FAR or MAR, its update, evaluation and export (2.2, C.2.2)."""

from typing import Any

import jax

from nwt_jax import build
from nwt_jax.data.tokens import Tokens
from nwt_jax.train.preflight import inputs
from nwt_jax.train.preflight.lineage import find_clips, find_dvae, no_clips
from nwt_jax.train.stages.prior_data import change_rate, make_batches, make_windows
from nwt_jax.train.stages.prior_eval import PROGRESS, make_evaluator
from nwt_jax.train.stages.prior_export import make_exporter
from nwt_jax.train.stages.prior_step import make_objective, make_update
from nwt_jax.train.stages.stage import Stage


def make_stage(config: Any) -> Stage:
  """Makes everything the loop needs from a config of family "far" or "mar".

  `data.path` is a token data set. `dvae` is the release that the tokens were made with, and `data.clips` are the clips,
  for pictures; those that are not given are found by the tokens' metadata. `model.num_episodes` is set to the data's.
  Raises: InputError: the tokens do not fit the model, or the dVAE is not there.
  """
  tokens = Tokens(config.data.path, "train")
  metadata = tokens.metadata
  with config.unlocked():
    config.model.num_episodes = len(metadata["episodes"])
  inputs.check_grid(config, metadata)
  dvae, clips = find_dvae(config, metadata), find_clips(config, metadata)
  if clips is None and jax.process_index() == 0:
    print(no_clips(config, metadata), flush=True)
  prior = build.prior(config.family, config.model, config.train.remat)
  objective = make_objective(config.objective, lambda: change_rate(tokens, config.data.frames), config.data.frames)
  state, step = make_update(config, prior, objective)
  return Stage(
    state=state,
    step=step,
    batches=make_batches(config, prior),
    evaluate=make_evaluator(config, prior, objective, make_windows(config, prior), clips),
    export=make_exporter(config, prior, tokens, dvae),
    progress=PROGRESS,
    warning=lambda metrics: None,
    fingerprint=metadata["fingerprint"],
  )
