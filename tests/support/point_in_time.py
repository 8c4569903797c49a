"""A slow and obvious point-in-time join to compare engines with, and a join of shuffled and partitioned inputs."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from math import isclose, sqrt
from typing import Any

import pyarrow as pa

from raymlops.features import FeatureView, WindowAggregate, point_in_time_join
from raymlops.features.definitions.schema import arrow_type, conform, instants_us
from raymlops.features.offline.large_tables.bucketed_join import WantedView, join_in_buckets
from raymlops.features.offline.large_tables.bucketed_tables import BlockedTable, TableBlock
from raymlops.features.offline.large_tables.bucketed_tasks import TaskPool
from raymlops.tables.columns import INSTANT
from tests.support.disk_tasks import DiskTasks

__all__ = [
    "PARTITIONS",
    "assert_features",
    "bucketed_join",
    "expected_features",
    "join_every_way",
    "spine_of",
    "table_of",
]

PARTITIONS = (1, 2, 7)
"""Numbers of parts that every case is run with."""

Row = Mapping[str, Any]

_NEVER = datetime.min.replace(tzinfo=UTC)


def table_of(view: FeatureView, rows: Sequence[Row]) -> Any:
    """Rows of a view as a table of the declared types; absent columns are null. ``_seq`` is taken along."""
    declared = {column.name: arrow_type(column.dtype) for column in view.fields}
    columns = {}
    for name in view.table_columns:
        values = [row.get(name) for row in rows]
        if name in declared:
            columns[name] = pa.array(values, declared[name])
        elif name in view.keys:
            columns[name] = (
                pa.array(values) if any(value is not None for value in values) else pa.array(values, "string")
            )
        else:
            columns[name] = pa.array(values, INSTANT)
    if any("_seq" in row for row in rows):
        columns["_seq"] = pa.array([row["_seq"] for row in rows], pa.int64())
    return pa.table(columns)


def spine_of(rows: Sequence[Row]) -> Any:
    """Rows with an ``event_time`` as a table."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: pa.array([row.get(name) for row in rows]) for name in names if name != "event_time"}
    return pa.table({"event_time": pa.array([row["event_time"] for row in rows], INSTANT), **columns})


def expected_features(
    view: FeatureView, rows: Sequence[Row], asked: Row, *, knowledge_cutoff: bool = False
) -> dict[str, Any]:
    """What a view knows of one spine row, by the definition.

    Args:
        view: The view.
        rows: Its table; ``_seq`` or else the position is the order of arrival.
        asked: The spine row: the view's join columns and ``event_time``.
        knowledge_cutoff: Whether rows count only once they were created.

    Returns:
        Feature name -> value.
    """
    at = asked["event_time"]
    known = []
    for position, row in enumerate(rows):
        created = row.get(view.created_at) if view.created_at else None
        pairs = list(zip(view.keys, view.join_columns, strict=True))
        same = all(asked[column] is not None and row[key] == asked[column] for key, column in pairs)
        late = knowledge_cutoff and (created is None or created > at)
        if same and not late and row[view.event_time] <= at:
            known.append((row[view.event_time], created or _NEVER, row.get("_seq", position), row))
    known.sort(key=lambda entry: entry[:3])
    newest = known[-1] if known else None
    if newest is not None and view.ttl is not None and newest[0] < at - view.ttl:
        newest = None
    values = {column.name: None if newest is None else newest[3].get(column.name) for column in view.fields}
    for aggregate in view.aggregates:
        window = [entry[3].get(aggregate.field) for entry in known if entry[0] > at - aggregate.window]
        values[aggregate.name] = _aggregate(aggregate, [value for value in window if value is not None])
    return values


def _aggregate(aggregate: WindowAggregate, values: list[Any]) -> Any:
    if aggregate.function in {"count", "distinct"}:
        return len(values if aggregate.function == "count" else set(values))
    if not values:
        return None
    if aggregate.function == "last":
        return values[-1]
    if aggregate.function in {"min", "max"}:
        return min(values) if aggregate.function == "min" else max(values)
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    if aggregate.function == "std":
        return sqrt(sum((value - mean) ** 2 for value in exact) / len(exact))
    return float(sum(exact) if aggregate.function == "sum" else mean)


def assert_features(view: FeatureView, got: Row, expected: Row) -> None:
    """Fail unless the columns ``VIEW__FEATURE`` of a row hold the expected values.

    Sums may differ in the last bit, and by the parts below 2**-1056 that count as 0 (``features/offline/exact.py``);
    deviations by what is below the resolution of doubles.
    """
    rounded = {
        aggregate.name: aggregate for aggregate in view.aggregates if aggregate.function in {"sum", "mean", "std"}
    }
    for name, want in expected.items():
        have = got[f"{view.name}__{name}"]
        if name in rounded and want is not None and have is not None:
            coarse = rounded[name].function == "std"
            assert isclose(have, want, rel_tol=1e-9 if coarse else 4e-16, abs_tol=1e-12 if coarse else 2.0**-1055), (
                name,
                have,
                want,
            )
        else:
            assert have == want, (name, have, want)
            assert type(have) is type(want), (name, have, want)


def join_every_way(spine: Any, views: Sequence[FeatureView], tables: Mapping[str, Any], **options: Any) -> Any:
    """Join, and fail unless shuffled, chunked and partitioned inputs, and buckets of them, give the same table.

    Args:
        spine: As in ``point_in_time_join``.
        views: As in ``point_in_time_join``.
        tables: As in ``point_in_time_join``; a ``_seq`` is added where there is none.
        options: As in ``point_in_time_join``.

    Returns:
        The joined table.
    """
    numbered = {name: _numbered(table) for name, table in tables.items()}
    result = point_in_time_join(spine, views, numbered, **options)
    assert point_in_time_join(spine, views, tables, **options).equals(result)
    for parts in PARTITIONS:
        chance = random.Random(parts)
        shuffled = {name: table.take(_shuffle(table.num_rows, chance)) for name, table in numbered.items()}
        chunked = {name: _chunked(table, parts) for name, table in shuffled.items()}
        assert point_in_time_join(_chunked(spine, parts), views, chunked, **options).equals(result)
        pieces = [point_in_time_join(piece, views, shuffled, **options) for piece in _pieces(spine, parts)]
        assert pa.concat_tables(pieces).equals(result)
        assert bucketed_join(_chunked(spine, parts), views, shuffled, parts, **options).equals(result)
    order = _shuffle(spine.num_rows, random.Random(0))
    assert point_in_time_join(spine.take(order), views, numbered, **options).equals(result.take(order))
    return result


def bucketed_join(
    spine: Any,
    views: Sequence[FeatureView],
    tables: Mapping[str, Any],
    parts: int,
    *,
    pool: Callable[[], TaskPool] = DiskTasks,
    event_time: str = "event_time",
    knowledge_cutoff: bool = False,
) -> Any:
    """``point_in_time_join`` by way of buckets.

    Args:
        spine: As in ``point_in_time_join``.
        views: As in ``point_in_time_join``.
        tables: View name -> table with ``_seq``.
        parts: How many blocks a table is cut into, and how many buckets are made.
        pool: What runs the tasks.
        event_time: As in ``point_in_time_join``.
        knowledge_cutoff: As in ``point_in_time_join``.
    """
    at_us = instants_us("spine", event_time, spine[event_time])
    result = spine
    with pool() as tasks:
        for view in views:
            table = tables[view.name]
            rows = conform(view, table).append_column("_seq", table["_seq"])
            blocked = BlockedTable(rows.schema, [TableBlock(piece) for piece in _pieces(rows, parts)], rows.num_rows)
            joined = join_in_buckets(
                tasks,
                spine,
                at_us,
                [WantedView(view, view.feature_names)],
                blocked,
                knowledge_cutoff=knowledge_cutoff,
                buckets=parts,
            )
            for name, column in joined[0].columns.items():
                result = result.append_column(name, column)
    return result


def _numbered(table: Any) -> Any:
    if "_seq" in table.column_names:
        return table
    return table.append_column("_seq", pa.array(range(table.num_rows), pa.int64()))


def _shuffle(count: int, chance: random.Random) -> Any:
    order = list(range(count))
    chance.shuffle(order)
    return pa.array(order, pa.int64())


def _pieces(table: Any, parts: int) -> list[Any]:
    size = -(-table.num_rows // parts) or 1
    return [table.slice(start, size) for start in range(0, table.num_rows, size)] or [table]


def _chunked(table: Any, parts: int) -> Any:
    return pa.concat_tables(_pieces(table, parts))
