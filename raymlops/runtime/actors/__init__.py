"""The control actors and what each hosts."""
