"""What every stage runs on: processes, sharding, precision, logs, the folder of a run."""
