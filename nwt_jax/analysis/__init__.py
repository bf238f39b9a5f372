"""What Memcodes mean: occupancy, head edits, Hamming search; the MNIST study of appendix A."""
