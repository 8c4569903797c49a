"""Columns that every table of the platform has."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["INSTANT", "SEQUENCE"]

SEQUENCE = "_seq"
"""Column of a table that holds the order in which its rows arrived."""
INSTANT = pa.timestamp("us", tz="UTC")
"""Type of every column of instants."""
