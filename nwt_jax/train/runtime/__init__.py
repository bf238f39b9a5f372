"""The services that every stage uses: processes, sharding, precision, health, logs, pictures, the folder of a run."""
