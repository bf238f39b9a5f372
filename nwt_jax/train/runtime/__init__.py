"""What every stage runs on: processes, sharding, precision, health, logs, pictures, the folder of a run."""
