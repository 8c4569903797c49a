"""What people see: the report, its page and the Prometheus text."""
