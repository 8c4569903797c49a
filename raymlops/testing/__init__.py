"""Shipped fakes, and contract suites that every backend of a Protocol must pass."""
