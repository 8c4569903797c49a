"""The point-in-time join of tables that do not fit in one process: bucket by bucket, with the same kernel.

Spine and table are cut by a hash of their keys, the table block by block as it is read. All rows of a key meet in one
bucket, so each bucket is joined by itself by ``join_view``, and the rows go back to their places in the spine: the
result is the kernel's to the last bit, whatever the number of blocks and buckets.

A task holds one block of the table, or one bucket, never more; the caller holds the spine and the result. A bucket is
as large as its keys make it: a key with most of the rows makes one bucket with most of the rows, which takes the
memory of a plain join of that many rows, in one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.features.definitions.naming import column_name
from raymlops.features.definitions.schema import arrow_type
from raymlops.features.definitions.views import FeatureView
from raymlops.features.offline.keys import key_columns
from raymlops.features.offline.large_tables.bucketed import MOST_BUCKETS, bucket_numbers, order_by_bucket
from raymlops.features.offline.large_tables.bucketed_tables import Block, BlockedTable, TableBlock
from raymlops.features.offline.large_tables.bucketed_tasks import Handle, TaskPool
from raymlops.features.offline.point_in_time import JoinedView, join_view
from raymlops.features.offline.timeline import with_event_time
from raymlops.tables.columns import SEQUENCE

__all__ = ["ROWS_PER_BUCKET", "WantedView", "join_in_buckets"]

ROWS_PER_BUCKET = 1_500_000
"""Rows of spine and table that a bucket should have; a task takes some 60 bytes for each, besides the features."""

_AT = "_at_us"
_TAKEN_AT_ONCE = 1 << 20

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class WantedView:
    """A view and the features wanted of it."""

    view: FeatureView
    features: Sequence[str]

    @property
    def narrowed(self) -> FeatureView:
        """The view with those features alone."""
        return self.view.narrowed(self.features)


def join_in_buckets(
    pool: TaskPool,
    spine: Any,
    at_us: Ints,
    wanted: Sequence[WantedView],
    table: BlockedTable,
    *,
    knowledge_cutoff: bool = False,
    buckets: int | None = None,
) -> list[JoinedView]:
    """Join views that read one table by the same key columns to a spine.

    Args:
        pool: What runs the tasks.
        spine: Rows with the views' join columns.
        at_us: The instants of the spine's rows.
        wanted: The views.
        table: Their table, with ``_seq``.
        knowledge_cutoff: As in ``point_in_time_join``.
        buckets: How many to make; ``None``: as many as the rows need.

    Returns:
        What ``join_view`` gives for each view.

    Raises:
        RaymlopsError: as ``join_view`` and the pool do.
    """
    keys = wanted[0].view.keys
    types = [table.schema.field(key).type for key in keys] if table.rows else None
    spines = [key_columns("spine", spine, each.view.join_columns, types) for each in wanted]
    if buckets is None:
        buckets = min(-(-(table.rows + spine.num_rows) // ROWS_PER_BUCKET) or 1, MOST_BUCKETS)
    if not keys:
        buckets = 1
    columns = tuple(dict.fromkeys([*(name for each in wanted for name in each.narrowed.table_columns), SEQUENCE]))
    blocks: Sequence[Block] = table.blocks or [TableBlock(table.schema.empty_table())]
    pieces = pool.scatter(split_block, [(block, keys, columns, buckets) for block in blocks], buckets)
    parts = list(zip(*pieces, strict=True))
    return [
        _join(pool, spine.num_rows, named, at_us, each, parts, knowledge_cutoff)
        for each, named in zip(wanted, spines, strict=True)
    ]


def split_block(block: Block, keys: Sequence[str], columns: Sequence[str], buckets: int) -> list[Any]:
    """Read a block and cut it into buckets; rows with a null in their key are in none."""
    split: list[list[Any]] = [[] for _ in range(buckets)]
    for batch in block.batches(columns):
        rows = batch
        for key in keys:
            if rows[key].null_count:
                rows = rows.filter(pc.is_valid(rows[key]))
        numbers = bucket_numbers([rows[key] for key in keys], buckets, rows.num_rows)
        order, starts = order_by_bucket(numbers, buckets)
        rows = rows.take(pa.array(order))
        for number, parts in enumerate(split):
            parts.append(rows.slice(starts[number], starts[number + 1] - starts[number]))
    return [pa.concat_tables(parts) for parts in split]


def join_bucket(wanted: WantedView, knowledge_cutoff: bool, spine: Any, *pieces: Any) -> tuple[Any, int]:
    """Join one bucket of a view.

    Returns:
        The features of the spine's rows, and the view's ``late_rows`` among them.
    """
    view, rows = wanted.narrowed, pa.concat_tables(pieces)
    rows, sequence = with_event_time(view, rows, rows[SEQUENCE].to_numpy())
    at_us = spine[_AT].to_numpy()
    rows = rows.select(view.table_columns)
    joined = join_view(spine, at_us, view, rows, sequence, features=wanted.features, knowledge_cutoff=knowledge_cutoff)
    return pa.table(dict(joined.columns)), joined.late_rows


def _join(
    pool: TaskPool,
    rows: int,
    keys: Sequence[Any],
    at_us: Ints,
    wanted: WantedView,
    parts: Sequence[Sequence[Handle]],
    knowledge_cutoff: bool,
) -> JoinedView:
    """Join one view whose table is in buckets."""
    buckets = len(parts)
    order, starts = order_by_bucket(bucket_numbers(keys, buckets, rows), buckets)
    named = dict(zip(wanted.view.join_columns, keys, strict=True))
    cut = pa.table({**named, _AT: at_us}).take(pa.array(order))
    filled = [number for number in range(buckets) if starts[number] < starts[number + 1]] or [0]
    calls = [
        (wanted, knowledge_cutoff, pool.put(cut.slice(starts[n], starts[n + 1] - starts[n])), *parts[n]) for n in filled
    ]
    del cut
    result = {name: _column(wanted, name, rows) for name in wanted.features}
    late = 0
    for place, (features, late_rows) in pool.gather(join_bucket, calls):
        number = filled[place]
        for name, column in result.items():
            column.fill(order[starts[number] : starts[number + 1]], features[column_name(wanted.view.name, name)])
        late += late_rows
    columns = {}
    for name in wanted.features:
        columns[column_name(wanted.view.name, name)] = result.pop(name).finish()
    return JoinedView(columns, late)


def _column(wanted: WantedView, name: str, rows: int) -> _Numbers | _Texts:
    dtype = wanted.view.dtype_of(name)
    return _Texts(rows) if dtype == "string" else _Numbers(arrow_type(dtype), rows)


class _Numbers:
    """A column of fixed width, filled from buckets as they come."""

    def __init__(self, dtype: Any, rows: int) -> None:
        self._type = dtype
        self._values = np.zeros(rows, np.float64 if pa.types.is_floating(dtype) else np.int64)
        self._valid = np.zeros(rows, np.bool_)

    def fill(self, rows: Ints, column: Any) -> None:
        if not pa.types.is_floating(self._type):
            column = column.cast(pa.int64())
        self._valid[rows] = pc.is_valid(column).to_numpy()
        self._values[rows] = pc.fill_null(column, 0).to_numpy()

    def finish(self) -> Any:
        return pa.array(self._values, mask=~self._valid).cast(self._type)


class _Texts:
    """A column of text, put in order at the end."""

    def __init__(self, rows: int) -> None:
        self._places = np.zeros(rows, np.int64)
        self._chunks: list[Any] = []
        self._filled = 0

    def fill(self, rows: Ints, column: Any) -> None:
        self._places[rows] = np.arange(self._filled, self._filled + len(rows))
        self._filled += len(rows)
        self._chunks += column.cast(pa.large_string()).chunks

    def finish(self) -> Any:
        texts = pa.chunked_array(self._chunks, pa.large_string()).combine_chunks()
        starts = range(0, len(self._places), _TAKEN_AT_ONCE)
        # in pieces, as one chunk of plain strings holds no more than 2 GiB
        pieces = [texts.take(pa.array(self._places[start : start + _TAKEN_AT_ONCE])) for start in starts]
        return pa.chunked_array([piece.cast(pa.string()) for piece in pieces], pa.string())
