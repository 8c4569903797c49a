"""The guard of what is fitted on a model's rows: a table, its columns, and the order of its rows."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from raymlops.errors import SchemaMismatch
from raymlops.tables.columns import as_table

__all__ = ["rows_given"]


def rows_given(table: pa.Table, columns: Sequence[str] | None, event_time: str | None) -> tuple[pa.Table, list[str]]:
    """The rows in the order of time, where they have one, and the names of the columns to look at.

    Args:
        table: The argument of a caller.
        columns: Those asked for; ``None``: all but ``event_time``.
        event_time: Timestamp column that orders the rows.

    Raises:
        SchemaMismatch: It is no table, a column is not there or there twice, or ``event_time`` holds no timestamps.
    """
    table = as_table("reference", table)
    if isinstance(columns, str):
        raise SchemaMismatch(f"columns must be a list of names, got {columns!r}", columns=columns)
    names = [name for name in table.column_names if name != event_time] if columns is None else list(columns)
    present = set(table.column_names)  # made anew at each asking
    absent = [name for name in [*names, *([event_time] if event_time else [])] if name not in present]
    if absent:
        raise SchemaMismatch(f"columns {absent} are not in the reference table", columns=absent)
    if event_time is None:
        return table, names
    kind = table.schema.field(event_time).type
    if not pa.types.is_timestamp(kind):
        raise SchemaMismatch(f"column {event_time!r} must hold timestamps, got {kind}", columns=[event_time])
    return table.sort_by(event_time), names
