"""Wiring: state, sharding, optimisers, steps and the loop around them."""
