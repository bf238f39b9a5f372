"""What people see of a preparation, and what they decide (appendix D.5)."""
