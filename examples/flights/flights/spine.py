"""What a training run asks about: one row per landed flight, at its scheduled departure."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from flights.sources import REQUEST_FIELDS

__all__ = ["spine"]

_KEYS = ("origin", "carrier", "dest")


class _Tables(Protocol):
    def table(self, view: str, version: int | None = None) -> pa.Table:
        """Rows of a view's table."""
        ...


def spine(tables: _Tables, start: datetime, end: datetime) -> pa.Table:
    """Rows with ``start <= event_time < end``.

    Returns:
        ``event_time`` (the scheduled departure), ``label`` (1.0 if late), ``label_time`` (the landing), the keys and
        the request-time fields.
    """
    rows = tables.table("flights")
    at = rows["sched_dep"]
    kept = pc.and_(pc.greater_equal(at, pa.scalar(start, at.type)), pc.less(at, pa.scalar(end, at.type)))
    rows = rows.filter(kept)
    names = {"event_time": "sched_dep", "label": "late", "label_time": "event_time"}
    names |= {name: name for name in (*_KEYS, *REQUEST_FIELDS)}
    return pa.table({name: rows[column] for name, column in names.items()})
