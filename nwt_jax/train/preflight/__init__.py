"""What is checked before a run begins: values, paths, sizes, and whether the config fits together."""
