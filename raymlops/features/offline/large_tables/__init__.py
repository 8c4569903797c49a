"""The point-in-time join of tables that do not fit in one process: bucket by bucket."""
