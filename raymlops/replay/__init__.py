"""The replay: a project's own table as live operation, in event-time order, over HTTP."""
