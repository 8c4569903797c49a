"""A window as numbers: profiles, references, distances and drift."""
