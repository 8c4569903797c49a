"""Probes of a served model: their rows and files, their windows, and how they are fitted."""
