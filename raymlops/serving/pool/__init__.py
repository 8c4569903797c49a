"""Many models in one process."""
