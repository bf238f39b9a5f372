"""Finds, downloads and cuts recordings (appendix D.1, D.2)."""
