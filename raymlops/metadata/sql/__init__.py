"""The metadata store in SQL, one class per entity: SQLite in WAL mode by default, PostgreSQL by URL."""
