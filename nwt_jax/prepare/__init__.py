"""Recordings to data sets (appendix D): `python -m nwt_jax.prepare`. NumPy, ffmpeg, OpenCV; never jax."""
