"""Stands for configs/ in a checkout, where the experiments are beside the package: `from nwt_jax.configs import mar`.

An installed package has the folder itself here, as nwt_jax/configs, and Python prefers it to this file.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

__path__ = [str(Path(__file__).resolve().parent.parent / "configs")]

if TYPE_CHECKING:  # who checks types does not look where __path__ points

  def __getattr__(name: str) -> Any: ...
