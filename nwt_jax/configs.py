"""Stands for configs/ in a checkout, where the experiments are beside the package: `from nwt_jax.configs import mar`.

An installed package has the folder itself here, as nwt_jax/configs, and Python prefers it to this file.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parent.parent / "configs")]
