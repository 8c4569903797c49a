"""Rows on their way into a view's table, and those that are refused."""
