"""The point-in-time join: the features of each row of an entity dataframe (spine), as of the row's event time.

A feature row is a candidate for a spine row if its key is equal and its event time is neither after the spine row's
instant nor more than the view's TTL before it, both ends included. Of the candidates the newest counts, in the total
order of event time, created-at and order of arrival. Every spine row comes out once, in its place; without a candidate
its features are null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymlops.errors import ConfigError, FeatureViewNotFound, SchemaMismatch
from raymlops.features.definitions.naming import column_name, items_of, parse_reference
from raymlops.features.definitions.schema import check_columns, check_summable, conform, instants_us
from raymlops.features.definitions.validity import is_valid, span_us
from raymlops.features.definitions.views import FeatureView
from raymlops.features.offline.key_numbers import UNKNOWN
from raymlops.features.offline.keys import match_rows
from raymlops.features.offline.moments import Moments
from raymlops.features.offline.timeline import Timeline
from raymlops.features.offline.windows import Answers, aggregate_windows, answers_column
from raymlops.tables.columns import SEQUENCE, Reading, as_table, in_kind_of

__all__ = ["JoinedView", "join_view", "point_in_time_join"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class JoinedView:
    """Features of one view for all spine rows."""

    columns: Mapping[str, Any]
    """Column name ``VIEW__FEATURE`` -> Arrow array."""
    late_rows: int
    """Spine rows whose chosen row was created after their instant."""


def point_in_time_join(
    spine: Any,
    views: Sequence[FeatureView],
    tables: Mapping[str, Any],
    *,
    event_time: str = "event_time",
    knowledge_cutoff: bool = False,
    as_given: bool = False,
    **reading: Unpack[Reading],
) -> Any:
    """Join the features of views to a spine, as of the instant of each spine row.

    Args:
        spine: A table or frame with the keys of all views and a tz-aware ``event_time``; other columns are kept.
        views: Views that know their keys. Windows count an event from its event time on.
        tables: View name -> table; a view with a source may do with the source's table. A column ``_seq`` gives the
            order of arrival, else the order of the rows does.
        event_time: The spine's column of instants.
        knowledge_cutoff: Leave out rows created after the spine row's instant; without a created-at they never count.
        as_given: Whether to give back the kind of frame that the spine is, in place of an Arrow table.
        reading: ``time_zone`` of naive times, where it is not the view's; ``round_times`` to microseconds.

    Returns:
        The spine's rows and columns in their order, then ``VIEW__FIELD`` for every field and aggregate.

    Raises:
        FeatureViewNotFound: a view has no table.
        SchemaMismatch: a column is missing, there twice, or of a type that does not fit.
        DataError: a value breaks a constraint, or an instant is missing.
        ConfigError: a view does not know its keys, or has no created-at where one is needed.
    """
    given, spine = spine, as_table("spine", spine, **reading)
    views = items_of("point_in_time_join", "views", views, FeatureView)
    if not isinstance(tables, Mapping):
        raise ConfigError(f"point_in_time_join: tables must be a mapping, got {type(tables).__name__}")
    check_columns("spine", spine.column_names, [event_time])
    at_us = instants_us("spine", event_time, spine[event_time])
    result = spine
    for view in views:
        zone = reading.get("time_zone") or view.time_zone
        of_view: Reading = {**reading, "time_zone": zone}
        table = as_table(f"view {view.name!r}: its table", _table_of(view, tables), **of_view)
        sequence = sequence_of(view, table)
        rows = conform(view, table)
        check_summable(view, rows)
        joined = join_view(spine, at_us, view, rows, sequence, knowledge_cutoff=knowledge_cutoff)
        for name, column in joined.columns.items():
            result = append_feature(result, name, column)
    return in_kind_of(given, result) if as_given else result


def append_feature(table: Any, name: str, column: Any) -> Any:
    """Add a feature column.

    Raises:
        SchemaMismatch: the table has a column of that name.
    """
    if name in table.column_names:
        raise SchemaMismatch(f"spine: column {name!r} is the name of a feature, rename it", column=name)
    return table.append_column(name, column)


def _table_of(view: FeatureView, tables: Mapping[str, Any]) -> Any:
    if view.name in tables:
        return tables[view.name]
    if view.source is not None and parse_reference(view.source)[0] in tables:
        return tables[parse_reference(view.source)[0]]
    raise FeatureViewNotFound(f"view {view.name!r} has no table, got tables {sorted(tables)}", view=view.name)


def sequence_of(view: FeatureView, table: Any) -> Ints | None:
    """Order of arrival of a table's rows, where the table tells.

    Raises:
        SchemaMismatch: the column is not of integers, or has nulls.
    """
    if SEQUENCE not in table.column_names:
        return None
    column = table[SEQUENCE]
    if not pa.types.is_integer(column.type) or column.null_count:
        raise SchemaMismatch(f"view {view.name!r}: {SEQUENCE!r} must be integers without nulls, got {column.type}")
    sequence: Ints = column.cast(pa.int64()).to_numpy()
    return sequence


def join_view(
    spine: Any,
    at_us: Ints,
    view: FeatureView,
    rows: Any,
    sequence: Ints | None,
    *,
    features: Sequence[str] | None = None,
    knowledge_cutoff: bool = False,
) -> JoinedView:
    """Join one view to a spine.

    Args:
        spine: Rows with the view's keys.
        at_us: The instants of the spine's rows.
        view: A view that knows its keys.
        rows: The view's rows, as ``conform`` gives them.
        sequence: Their order of arrival; ``None``: the order of the rows.
        features: The features wanted, in this order; ``None`` for all.
        knowledge_cutoff: As in ``point_in_time_join``.
    """
    wanted = view.feature_names if features is None else features
    timeline = Timeline.of(view, rows, sequence, knowledge_cutoff=knowledge_cutoff)
    keys = match_rows("spine", spine, timeline.index, view.join_columns)
    asked = np.flatnonzero(keys != UNKNOWN)
    asked = asked[Moments(keys[asked], at_us[asked]).order]
    keys, at = keys[asked], at_us[asked]
    chosen = timeline.latest(keys, timeline.known.count_until(keys, at))
    valid = chosen >= 0
    late = 0
    if len(timeline):
        valid &= is_valid(timeline.event.at(chosen), at, span_us(view.ttl))
        if view.created_at is not None:
            late = int((valid & (timeline.created_at(chosen) > at)).sum())
    aggregates = {aggregate.name: aggregate for aggregate in view.aggregates if aggregate.name in wanted}
    answers = aggregate_windows(timeline, aggregates.values(), keys, at) if aggregates else {}
    picked = _spread(Answers(chosen, valid), asked, spine.num_rows, valid_elsewhere=False)
    places = timeline.places(picked.values, picked.valid)
    columns = {}
    for name in wanted:
        if name in aggregates:
            counting = aggregates[name].counts
            answer = _spread(answers[name], asked, spine.num_rows, valid_elsewhere=counting)
            column = answers_column(view, aggregates[name], timeline, answer)
        else:
            column = timeline.table[name].take(places)
        columns[column_name(view.name, name)] = column
    return JoinedView(columns, late)


def _spread(answers: Answers, asked: Ints, rows: int, *, valid_elsewhere: bool) -> Answers:
    """Answers to some rows of the spine, as answers to all: elsewhere 0, or null."""
    values = np.zeros(rows, answers.values.dtype)
    valid = np.full(rows, valid_elsewhere)
    values[asked] = answers.values
    valid[asked] = answers.valid
    return Answers(values, valid)
