"""NWT in JAX: natural audio-to-video generation with representation learning (Mama et al., 2021).

`from nwt_jax import NWT, InputError`; jax is loaded when NWT is first asked for.
"""

from nwt_jax.errors import InputError

__version__ = "0.1.0"
__all__ = ["NWT", "InputError"]


def __getattr__(name: str):
  if name == "NWT":
    from nwt_jax.api.model import NWT

    return NWT
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
