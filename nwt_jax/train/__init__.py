"""Training, from the top: the loop, the stages that it runs, the services that they use, and checks before a run."""
