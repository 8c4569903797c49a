"""Loaded models: their files, how they are loaded and checked."""
