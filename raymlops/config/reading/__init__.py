"""From files, variables and projects to a configuration, and who gave each of its values."""
