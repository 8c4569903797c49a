"""Model and data validation: what a candidate must pass before it is registered."""
