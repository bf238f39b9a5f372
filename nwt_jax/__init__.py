"""NWT in JAX: natural audio-to-video generation with representation learning (Mama et al., 2021)."""

__version__ = "0.1.0"
