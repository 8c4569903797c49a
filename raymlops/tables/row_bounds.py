"""Bounds of a read: a filter on rows, and the same filter on files, by the statistics in the table's log."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds

from raymlops.clock import from_us, to_us
from raymlops.tables.columns import INSTANT, SEQUENCE

__all__ = ["RowBounds", "row_bounds"]


class RowBounds(NamedTuple):
    """One filter in the forms of two libraries; ``None`` if all rows are wanted."""

    rows: Any
    """As an Arrow expression."""
    files: str | None
    """In SQL."""


def row_bounds(
    time_column: str, start: datetime | None, end: datetime | None, after: int | None, until: int | None
) -> RowBounds:
    """Bound rows by ``start <= time_column < end`` and ``after < _seq <= until``, as far as they are given."""
    rows, files = None, []
    for bound, rule in ((start, ">="), (end, "<"), (after, ">"), (until, "<=")):
        if bound is None:
            continue
        instant = isinstance(bound, datetime)
        name = time_column if instant else SEQUENCE
        field, limit = ds.field(name), pa.scalar(bound, INSTANT if instant else pa.int64())
        term = {">=": field >= limit, "<": field < limit, ">": field > limit, "<=": field <= limit}[rule]
        rows = term if rows is None else rows & term
        quoted = name.replace('"', '""')
        literal = f"'{from_us(to_us(bound)).isoformat()}'" if isinstance(bound, datetime) else str(bound)
        files.append(f'"{quoted}" {rule} {literal}')
    return RowBounds(rows, " AND ".join(files) or None)
