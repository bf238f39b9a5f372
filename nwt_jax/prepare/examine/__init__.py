"""What a clip shows and whether it can be trusted (appendix D.3 to D.5)."""
