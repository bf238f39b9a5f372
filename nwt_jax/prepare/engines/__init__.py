"""Where the work of a preparation is done: processes of this machine, or an Apache Beam pipeline."""
