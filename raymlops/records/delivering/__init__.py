"""Environments of a project, and pushes to its repository."""
