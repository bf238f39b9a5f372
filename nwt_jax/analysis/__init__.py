"""Studies of Memcodes: occupancy, head edits, Hamming search; the MNIST study of appendix A."""
