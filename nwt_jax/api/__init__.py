"""What programs and notebooks call: a model, the videos that it makes, and what may be asked of them.

`from nwt_jax.api import NWT` loads jax; the other modules of this folder that need none do not.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from nwt_jax.api.model import NWT
  from nwt_jax.api.video import Chunk, Generation, Stream

__all__ = ["NWT", "Chunk", "Generation", "Stream"]


def __getattr__(name: str) -> Any:
  if name not in __all__:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(f"nwt_jax.api.{'model' if name == 'NWT' else 'video'}"), name)


def __dir__() -> list[str]:
  return __all__
