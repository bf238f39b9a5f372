"""Inference as pure functions: sampling codes, choosing styles, rendering."""
