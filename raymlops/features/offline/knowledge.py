"""Point-in-time features with a knowledge cutoff: rows that were known at one instant, as of another.

A knowledge cutoff of the join compares a row's created-at with the spine row's event time. What was known when a
request was answered needs two instants: the one asked about, and the one at which the answer was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.features.catalog.applied import ResolvedService, ResolvedView
from raymlops.features.definitions.naming import column_name, parse_feature
from raymlops.features.definitions.on_demand import OnDemandFunction
from raymlops.features.definitions.schema import arrow_type, check_columns, conform, instants_us, key_column, typed
from raymlops.features.definitions.validity import span_us
from raymlops.features.definitions.views import Entity, FeatureView
from raymlops.features.offline.point_in_time import point_in_time_join
from raymlops.tables.columns import SEQUENCE
from raymlops.tables.delta import DeltaTables
from raymlops.tables.delta_log import read_batches
from raymlops.tables.visibility import Visibility

__all__ = ["known_features"]

_EVENT_TIME = "event_time"
_ASKED = "row_asked"
"""Key that keeps the rows known to one spine row apart from those known to another."""
_CHUNK_ROWS = 1 << 21
_ALWAYS, _NEVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max

Ints = npt.NDArray[np.int64]


def known_features(
    service: ResolvedService, spine: Any, known_us: Ints, tables: DeltaTables, visibility: Visibility | None = None
) -> Any:
    """The features of a service as of each row's ``event_time``, from the rows known at another instant.

    A row is known once it was created, where its view has a created-at, and online, where that was recorded.

    Memory is bounded by the rows of the spine's entities.

    Args:
        service: The service.
        spine: N rows: keys, ``event_time`` and request columns.
        known_us: N instants in microseconds: rows known later do not count.
        tables: The tables, read at their newest version.
        visibility: Tells when rows were online; ``None``: nobody does.

    Returns:
        One column ``VIEW__FIELD`` per feature of whose rows it is told when they were known, rows in the spine's order,
        and what on-demand views make of them.

    Raises:
        RaymlopsError: as ``point_in_time_join`` and the tables do.
    """
    check_columns("spine", spine.column_names, [_EVENT_TIME])
    dated = {
        resolved.view.name
        for resolved in service.views
        if resolved.view.created_at is not None or _recorded(resolved, visibility)
    }
    inputs = {view.name: {parse_feature(name)[0] for name in view.feature_inputs} for view in service.on_demand}
    computed = {name for name, views in inputs.items() if views & dated}
    needed = dated.union(*(inputs[name] for name in computed))
    columns: dict[str, Any] = {}
    for resolved in service.views:
        if resolved.view.name in needed:
            columns |= _known_view(resolved, spine, known_us, tables, visibility)
    for definition in service.on_demand:
        if definition.name in computed:
            function = OnDemandFunction(definition)
            types = {name: function.request_type(name) for name in definition.request_inputs}
            request = {name: typed("spine", name, spine[name], dtype) for name, dtype in types.items()}
            columns |= function.compute({**columns, **request}, spine.num_rows)
    told = [name for name in service.columns if name.partition("__")[0] in dated | computed]
    return pa.table({name: columns[name] for name in told})


def _recorded(resolved: ResolvedView, visibility: Visibility | None) -> bool:
    return visibility is not None and visibility.of(resolved.view.ref, np.empty(0, np.int64)) is not None


def _known_view(
    resolved: ResolvedView, spine: Any, known_us: Ints, tables: DeltaTables, visibility: Visibility | None
) -> dict[str, Any]:
    view = resolved.view.narrowed(resolved.features)
    names = {column_name(view.name, feature): feature for feature in resolved.features}
    rows = _Rows.of(view, spine, tables, resolved.table, visibility)
    at_us = instants_us("spine", _EVENT_TIME, spine[_EVENT_TIME])
    asked = spine.select(list(dict.fromkeys([*view.join_columns, _EVENT_TIME])))
    asked = asked.append_column(_ASKED, pa.array(np.arange(spine.num_rows)))
    assert isinstance(view.entity, Entity)
    apart = replace(view, entity=Entity(view.entity.name, (*view.keys, _ASKED)), source=None)
    pieces = []
    for first, last, positions, owners in rows.known(at_us, known_us):
        known = rows.table.take(pa.array(positions)).append_column(_ASKED, pa.array(owners))
        joined = point_in_time_join(asked.slice(first, last - first), [apart], {view.name: known})
        pieces.append(joined.select(list(names)))
    if not pieces:
        types = {name: arrow_type(view.dtype_of(feature)) for name, feature in names.items()}
        return {name: pa.array([], kind) for name, kind in types.items()}
    whole = pa.concat_tables(pieces)
    return {name: whole[name] for name in names}


@dataclass(frozen=True)
class _Rows:
    """The rows of a spine's entities in total order, and which of them belong to which spine row.

    Attributes:
        table: The view's columns and ``_seq``, sorted by key, event time, created-at and order of arrival.
        keys: Number of each row's key.
        event_us: Event time of each row.
        known_us: When each row was known.
        asked: Number of each spine row's key, -1 without rows.
        window_us: Longest window of the view.
    """

    table: Any
    keys: Ints
    event_us: Ints
    known_us: Ints
    asked: Ints
    window_us: int

    @classmethod
    def of(cls, view: FeatureView, spine: Any, tables: DeltaTables, table: str, visibility: Visibility | None) -> _Rows:
        schema = tables.schema(table)
        asked = pl.DataFrame([_key(spine, *pair, schema) for pair in zip(view.keys, view.join_columns, strict=True)])
        distinct = asked.drop_nulls().unique(maintain_order=True)
        rows = _entity_rows(view, distinct, tables, table, schema)
        sequence = rows[SEQUENCE]
        found = conform(view, rows.select(list(view.table_columns)))
        created = np.full(found.num_rows, _ALWAYS)
        if view.created_at is not None:
            created = pc.fill_null(found[view.created_at].cast(pa.int64()), int(_NEVER)).to_numpy()
        event = found[view.event_time].cast(pa.int64()).to_numpy()
        keys = _numbers(pl.DataFrame(found.select(list(view.keys))), distinct, found.num_rows)
        # A missing created-at loses every tie, as in the join; it is never known, so that its place does not matter.
        order = np.lexsort((sequence.to_numpy(), created, event, keys))
        online = None if visibility is None else visibility.of(view.ref, sequence.to_numpy())
        return cls(
            table=found.append_column(SEQUENCE, sequence).take(pa.array(order)),
            keys=keys[order],
            event_us=event[order],
            known_us=(created if online is None else np.maximum(created, online))[order],
            asked=_numbers(asked, distinct, spine.num_rows),
            window_us=span_us(view.longest_window),
        )

    def known(self, at_us: Ints, known_us: Ints) -> Iterator[tuple[int, int, Ints, Ints]]:
        """Which rows the features of each spine row are made of: the newest known one, and the known ones in windows.

        Yields:
            Bounds of a slice of the spine, positions of rows, and for each of them the spine row it belongs to.
        """
        starts = np.searchsorted(self.keys, self.asked)
        ends = self._ends(at_us)
        window = np.minimum(np.maximum(starts, self._ends(at_us - self.window_us)), ends) if self.window_us else ends
        newest = self._newest(starts, ends, known_us)
        sizes = np.cumsum(ends - window + 1)
        first = 0
        while first < len(at_us):
            before = int(sizes[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(sizes, before + _CHUNK_ROWS, side="right")))
            part = np.arange(first, last)
            counts = ends[part] - window[part]
            offsets = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
            owners = np.concatenate([part, np.repeat(part, counts)])
            positions = np.concatenate([newest[part], np.repeat(window[part], counts) + offsets])
            usable = positions >= 0
            usable[usable] = self.known_us[positions[usable]] <= known_us[owners[usable]]
            pairs = np.unique(np.stack([owners[usable], positions[usable]]), axis=1)
            yield first, last, pairs[1], pairs[0]
            first = last

    def _ends(self, at_us: Ints) -> Ints:
        """Position after the last row of each spine row's key with an event time of at most an instant."""
        moments = np.unique(self.event_us)
        width = len(moments) + 1
        codes = self.keys * width + np.searchsorted(moments, self.event_us)
        return np.searchsorted(codes, self.asked * width + np.searchsorted(moments, at_us, side="right"))

    def _newest(self, starts: Ints, ends: Ints, known_us: Ints) -> Ints:
        """Position of the newest known row, -1 without one."""
        newest = np.where(self.asked >= 0, ends - 1, -1)
        unknown = np.flatnonzero(newest >= starts)
        while len(unknown):
            unknown = unknown[self.known_us[newest[unknown]] > known_us[unknown]]
            newest[unknown] -= 1
            unknown = unknown[newest[unknown] >= starts[unknown]]
        return np.where(newest >= starts, newest, -1)


def _key(spine: Any, key: str, column: str, schema: Any) -> pl.Series:
    """A key column of the spine under the key's name, in the table's type where nulls alone leave it open."""
    values = key_column("spine", column, spine[column])
    if values.null_count == len(values):
        values = pa.nulls(len(values), schema.field(key).type)
    return pl.Series(key, values)


def _entity_rows(view: FeatureView, distinct: pl.DataFrame, tables: DeltaTables, table: str, schema: Any) -> Any:
    """The rows of some entities with an event time, in any order; read a batch at a time."""
    wanted = [*view.table_columns, SEQUENCE]
    found = [pa.schema([schema.field(name) for name in wanted]).empty_table()]
    for batch in read_batches(tables, table, None, wanted):
        rows = pa.Table.from_batches([batch])
        keep = pc.is_valid(rows[view.event_time])
        if view.keys:
            numbers = _numbers(pl.DataFrame(rows.select(list(view.keys))), distinct, rows.num_rows)
            keep = pc.and_(keep, pa.array(numbers >= 0))
        found.append(rows.filter(keep))
    return pa.concat_tables(found, promote_options="permissive")


def _numbers(frame: pl.DataFrame, distinct: pl.DataFrame, count: int) -> Ints:
    """Number of each row's key among the distinct ones; -1 where it is not there."""
    keys = distinct.columns
    if not keys:
        return np.zeros(count, np.int64)
    numbered = distinct.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(SEQUENCE))
    found = frame.join(numbered, on=keys, how="left", maintain_order="left")[SEQUENCE]
    numbers: Ints = found.fill_null(-1).to_numpy()
    return numbers
