"""Data sets of clips and tokens, and batches from them (appendix D). NumPy, ffmpeg, OpenCV, grain; never jax."""
