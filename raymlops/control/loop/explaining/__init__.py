"""What the controller shows of a model, and why it did, or did not do, something."""
