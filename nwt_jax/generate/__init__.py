"""What inference does, as pure functions: sampling codes, choosing styles, rendering."""
