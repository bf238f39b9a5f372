"""Functions that turn frames and sound into numbers, without jax: similarity, mouth openings, synchrony."""
