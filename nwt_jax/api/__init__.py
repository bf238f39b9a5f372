"""The interface for programs and notebooks: a model, the videos that it makes, and checks of requests.

`from nwt_jax.api import NWT` loads jax; the other modules of this folder that need none do not.
"""


def __getattr__(name: str):
  if name == "NWT":
    from nwt_jax.api.model import NWT

    return NWT
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
