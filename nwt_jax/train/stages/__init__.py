"""The stages of training: the dVAE, Memcodes of a data set, the priors, and the study on MNIST."""

from typing import Any

from nwt_jax.train.stages.stage import Stage


def make_stage(config: Any) -> Stage:
  """Makes the stage that `config.family` names: "dvae", "digits", "far" or "mar"."""
  if config.family == "dvae":
    from nwt_jax.train.stages.dvae import make_stage
  elif config.family == "digits":
    from nwt_jax.train.stages.mnist import make_stage
  else:
    from nwt_jax.train.stages.prior import make_stage
  return make_stage(config)
