"""What the platform runs on: cluster, clock, metadata, traces."""
