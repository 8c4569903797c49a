"""Features near their readers: writers, copies and readers on each node."""
