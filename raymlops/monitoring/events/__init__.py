"""Prediction events and labels on disk."""
