"""Lineage of versions, features and answers."""
