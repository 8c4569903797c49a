"""A project's own tests, and the report of a build."""
