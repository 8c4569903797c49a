"""Parts of a table, worked on by Ray tasks and actors on all nodes."""
