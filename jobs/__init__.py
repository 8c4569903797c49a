"""Entry points of Ray Jobs: arguments, one call, an exit code."""
