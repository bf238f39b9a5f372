"""Training, from above: the loop, the stages that it runs, what they run on, and the checks before a run."""
