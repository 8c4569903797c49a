"""Runs and batch jobs on Ray."""
