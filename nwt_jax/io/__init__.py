"""Files in and out: video, audio, checkpoints. Nothing here knows a model."""
