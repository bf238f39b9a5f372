"""Raw clips to data sets to batches (appendix D). NumPy, ffmpeg, OpenCV, grain; never jax."""
