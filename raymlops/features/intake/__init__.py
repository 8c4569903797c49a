"""Ingestion: checks of rows, the commit to a view's table, and the quarantine of refused rows."""
