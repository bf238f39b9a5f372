"""Assigns clips to splits and writes them as records (appendix D.6 to D.10)."""
