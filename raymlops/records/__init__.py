"""Frozen values that cross package borders, one module per subject, subjects in rooms."""
