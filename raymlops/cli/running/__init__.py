"""Commands about training runs and batch jobs."""
