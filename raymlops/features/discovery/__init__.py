"""Discovery of features: search, statistics, freshness, lineage and the audit."""
