"""The report of a model, its page, and the metrics for Prometheus."""
