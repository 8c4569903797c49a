"""Entry points of Ray Jobs, each as ``python -m raymlops.jobs.NAME``: arguments, one call, an exit code."""
