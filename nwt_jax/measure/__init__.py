"""Rulers: NumPy functions that turn frames into numbers."""
