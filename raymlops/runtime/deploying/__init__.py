"""From a bundle to a model in service: install, run once, ask, switch, roll back."""
