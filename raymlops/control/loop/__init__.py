"""The control loop: turns, what it sees, what it tells."""
