"""The columns of prediction events and labels as they are recorded."""

from __future__ import annotations

import pyarrow as pa

from raymlops.errors import DataError, SchemaMismatch
from raymlops.monitoring.profile import SCORE_COLUMN

__all__ = ["EVENTS", "LABELS", "conform"]

_INSTANT = pa.timestamp("us", tz="UTC")
EVENTS = pa.schema(
    [
        ("request_id", pa.string()),
        ("row", pa.int32()),
        ("event_time", _INSTANT),
        ("served_at", _INSTANT),
        ("version", pa.int32()),
        ("role", pa.string()),
        ("fallback", pa.string()),
        ("error", pa.string()),
        (SCORE_COLUMN, pa.float64()),
        ("label_predicted", pa.string()),
    ]
)
"""The columns of prediction events that the monitor reads itself; the model's inputs are beside them."""
LABELS = pa.schema([("request_id", pa.string()), ("row", pa.int32()), ("label", pa.string()), ("event_time", _INSTANT)])


def conform(table: pa.Table, schema: pa.Schema, what: str, required: tuple[str, ...]) -> pa.Table:
    """``table`` with the columns of ``schema`` cast to their types; its other columns stay as they are."""
    absent = [name for name in schema.names if name not in table.column_names]
    if absent:
        raise SchemaMismatch(f"{what} must have the columns {schema.names}, got none of {absent}", columns=absent)
    for field in schema:
        column = table[field.name]
        if pa.types.is_timestamp(field.type) and not (pa.types.is_timestamp(column.type) and column.type.tz):
            raise SchemaMismatch(f"{what}: {field.name} must be tz-aware instants, got {column.type}")
        try:
            cast = column.cast(field.type)
        except pa.ArrowException as error:
            raise SchemaMismatch(f"{what}: {field.name} must be {field.type}, got {column.type}: {error}") from error
        if field.name in required and cast.null_count:
            raise DataError(f"{what}: {field.name} must not be null, got {cast.null_count} nulls", column=field.name)
        table = table.set_column(table.column_names.index(field.name), field.name, cast)
    return table
