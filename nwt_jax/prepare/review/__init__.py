"""Shows a preparation to people, and reads their decisions (appendix D.5)."""
