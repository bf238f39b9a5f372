"""Where recordings come from, and how they are cut (appendix D.1, D.2)."""
