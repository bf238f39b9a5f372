"""Examines clips: their content, and whether they can be trusted (appendix D.3 to D.5)."""
