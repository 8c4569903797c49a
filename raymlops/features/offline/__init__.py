"""Features as of each row's time: the point-in-time join, window aggregates and training sets."""
