"""What a fleet of models takes, and which part of the platform it fills first."""
