"""Windows: which is due, what it is judged on, and what is known once it is closed."""
