"""The columns of prediction events and labels as they are recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import pyarrow as pa

from raymlops.errors import DataError, SchemaMismatch
from raymlops.monitoring.profiles.profile import SCORE_COLUMN

__all__ = ["EVENTS", "FEATURE_TIMES", "LABELS", "LOGGED", "conform", "join_recorded"]

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
FEATURE_TIMES = "feature_times"
"""Column of prediction events: a JSON object, feature view -> event time of the joined row, in microseconds."""
LOGGED = frozenset({*EVENTS.names, "latency_us", "missing", "entity", FEATURE_TIMES})
"""All columns of prediction events that are no inputs of a model."""
LABELS = pa.schema([("request_id", pa.string()), ("row", pa.int32()), ("label", pa.string()), ("event_time", _INSTANT)])


def conform(table: pa.Table, schema: pa.Schema, what: str, required: tuple[str, ...]) -> pa.Table:
    """``table`` with the columns of ``schema`` cast to their types; its other columns stay as they are."""
    present = set(table.column_names)
    absent = [name for name in schema.names if name not in present]
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


def join_recorded(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of tables whose columns may differ, such as events of models whose inputs do.

    A column that is a number in one and a text in another is a text: whoever judges it then finds another type than
    the reference's, or values never seen, and everything else as ever. Tables without rows have no say.
    """
    held = [table for table in tables if table.num_rows] or list(tables[:1])
    types: defaultdict[str, set[pa.DataType]] = defaultdict(set)
    for table in held:
        for field in table.schema:
            types[field.name].add(field.type)
    mixed = {name for name, found in types.items() if len(found) > 1 and not _unify(found)}
    return pa.concat_tables([_as_texts(table, mixed) for table in held], promote_options="permissive")


def _unify(types: set[pa.DataType]) -> bool:
    try:
        pa.unify_schemas([pa.schema([("column", each)]) for each in types], promote_options="permissive")
    except pa.ArrowTypeError:
        return False
    return True


def _as_texts(table: pa.Table, names: set[str]) -> pa.Table:
    for place, name in enumerate(table.column_names):
        if name in names:
            table = table.set_column(place, name, table[name].cast(pa.string()))
    return table
