"""Clips dealt to splits and written as records (appendix D.6 to D.10)."""
