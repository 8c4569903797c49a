"""What a model learns from and vouches for: its task, labels, inputs, artifacts and blessings."""
