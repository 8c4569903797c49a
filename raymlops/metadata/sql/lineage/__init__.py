"""Artifacts, the events that link them with runs, and groups of both."""
