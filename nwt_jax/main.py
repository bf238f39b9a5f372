"""Trains: `python -m nwt_jax.main --config=configs/dvae_lwt.py --workdir=W --config.data.path=DIR` (C.1, C.2)."""

import sys
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from nwt_jax import aliases, cli

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, for instance configs/dvae_lwt.py:demo.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, pictures, export.")


def main(_: Any) -> None:
  """Runs the stage that the config names."""
  config, workdir = _CONFIG.value, Path(_WORKDIR.value)  # ty: ignore[invalid-argument-type]
  from nwt_jax.train.preflight import inputs

  inputs.check(config, workdir)  # before jax: a wrong name or size is answered at once
  if config.family == "tokenize":
    from nwt_jax.train.stages.tokenize import tokenize

    tokenize(config, workdir)
    return
  from nwt_jax.train.loop import train
  from nwt_jax.train.mismatch import explain_mismatch
  from nwt_jax.train.runtime import cluster

  flag = flags.FLAGS["config"]
  default = flag.parser.parse(config_flags.get_config_filename(flag))
  cluster.connect(config.train.heartbeat)
  with cluster.exit_together(), explain_mismatch(config, default):
    train(config, workdir)


if __name__ == "__main__":
  sys.argv[:] = aliases.rename_flags(sys.argv)
  cli.run(main, "config", "workdir")
