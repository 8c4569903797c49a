"""Connections, transactions and group commit."""
