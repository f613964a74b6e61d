"""What a training run will take in memory, before anything is loaded."""
