"""Checks before jax is loaded: values, paths and sizes, and where tokens come from."""
