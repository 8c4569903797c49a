"""Replicas of models: of one model or of a pool, and the check of callers."""
