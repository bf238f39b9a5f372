"""The engines that run a preparation: processes of this machine, or an Apache Beam pipeline."""
