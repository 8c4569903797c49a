"""Searches over trials: what is tried next, which trial is given up, which is chosen."""
