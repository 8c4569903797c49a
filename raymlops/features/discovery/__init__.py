"""What there is in a feature store: search, statistics, freshness, lineage and the audit."""
