"""What is behind a version, a feature and an answer."""
