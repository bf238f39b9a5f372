"""NWT in JAX: natural audio-to-video generation with representation learning (Mama et al., 2021).

`from nwt_jax import NWT, InputError`; jax is loaded when NWT is first asked for.
"""

from typing import TYPE_CHECKING, Any

from nwt_jax.errors import InputError

if TYPE_CHECKING:
  from nwt_jax.api.model import NWT

__version__ = "0.1.0"
__all__ = ["NWT", "InputError"]


def __getattr__(name: str) -> Any:
  if name == "NWT":
    from nwt_jax.api.model import NWT

    return NWT
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return ["__version__", *__all__]
