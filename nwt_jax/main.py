"""Trains: `python -m nwt_jax.main --config=configs/dvae_lwt.py --workdir=W --config.data.path=DIR` (C.1, C.2)."""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from nwt_jax import cli
from nwt_jax.errors import InputError

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, for instance configs/dvae_lwt.py:demo.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, pictures, export.")

_CLIPS = ("clips", "make it with python -m nwt_jax.prepare --input='clips/*.mp4' --output=DIR")
_TOKENS = ("tokens", "make it with python -m nwt_jax.main --config=configs/tokenize.py ...")
NEEDS = {
  "dvae": _CLIPS,
  "tokenize": _CLIPS,
  "far": _TOKENS,
  "mar": _TOKENS,
  "digits": ("MNIST's four idx files", "download it"),
}


def main(_) -> None:
  """Runs the stage that the config names."""
  config, workdir = _CONFIG.value, Path(_WORKDIR.value)
  if config.family not in NEEDS:
    raise InputError(f"config family {config.family!r} is unknown; choose one of {', '.join(NEEDS)}")
  from nwt_jax.train.preflight import inputs

  if not config.data.path:
    what, source = NEEDS[config.family]
    raise InputError(f"no data: --config.data.path is empty, wanted a folder of {what}; {source}")
  if config.family == "tokenize":
    if not config.dvae:
      raise InputError(
        "no dVAE: --config.dvae is empty, wanted the workdir of a stage-1 run; train configs/dvae_lwt.py first"
      )
  inputs.check(config, workdir)  # before jax: a wrong name or size is answered at once
  if config.family == "tokenize":
    from nwt_jax.train.stages.tokenize import tokenize

    tokenize(config, workdir)
    return
  from nwt_jax.train.loop import train
  from nwt_jax.train.preflight.fitting import fitting
  from nwt_jax.train.runtime import cluster

  if config.family == "dvae":
    from nwt_jax.train.stages.dvae import make_stage
  elif config.family == "digits":
    from nwt_jax.train.stages.mnist import make_stage
  else:
    from nwt_jax.train.stages.prior import make_stage
  flag = flags.FLAGS["config"]
  default = flag.parser.parse(config_flags.get_config_filename(flag))
  cluster.connect(config.train.heartbeat)
  with cluster.ending_together(), fitting(config, default):
    train(lambda: make_stage(config), config, workdir)


if __name__ == "__main__":
  cli.run(main, "config", "workdir")
