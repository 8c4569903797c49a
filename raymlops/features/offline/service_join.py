"""The features of a service, joined to a spine from given versions of its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from raymlops.clock import from_us
from raymlops.features.catalog.applied import ResolvedService, ResolvedView
from raymlops.features.definitions.arguments import check_free
from raymlops.features.definitions.on_demand import OnDemandFunction
from raymlops.features.definitions.schema import EVENT_TIME, check_columns, instants_us, typed
from raymlops.features.definitions.validity import span_us
from raymlops.features.offline.large_tables.bucketed_join import WantedView, join_in_buckets
from raymlops.features.offline.large_tables.bucketed_tables import BlockedTable, blocks_of
from raymlops.features.offline.large_tables.bucketed_tasks import TaskPool
from raymlops.features.offline.point_in_time import JoinedView, append_feature, join_view
from raymlops.features.offline.timeline import with_event_time
from raymlops.tables.columns import SEQUENCE, as_table
from raymlops.tables.delta import DeltaTables

__all__ = ["JoinTasks", "join_service"]

Ints = npt.NDArray[np.int64]
Joined: TypeAlias = Mapping[str, JoinedView]


@dataclass(frozen=True)
class JoinTasks:
    """From how many rows on a join is cut into tasks, and the pool that runs them.

    Args:
        pool: Makes the pool of one join.
        from_rows: Fewer rows than that, of the spine and of the tables together, are joined in the calling process.
    """

    pool: Callable[[], TaskPool]
    from_rows: int


def join_service(
    service: ResolvedService,
    spine: Any,
    tables: DeltaTables,
    versions: Mapping[str, int],
    *,
    knowledge_cutoff: bool,
    tasks: JoinTasks | None = None,
) -> tuple[Any, dict[str, int]]:
    """Join the features of a service to a spine, from given versions of its tables.

    Args:
        service: The service.
        spine: Keys, ``event_time`` and request columns.
        tables: The tables.
        versions: Table -> version to read.
        knowledge_cutoff: As in ``point_in_time_join``.
        tasks: How large joins are run; ``None``: all in this process. The result is the same.

    Returns:
        The joined table; and per view the spine rows whose chosen row was created after their instant.

    Raises:
        RaymlopsError: as ``point_in_time_join`` and the tables do, and the pool of the tasks.
    """
    spine = as_table("spine", spine)
    check_columns("spine", spine.column_names, [EVENT_TIME])
    check_free("spine", spine.column_names, service.columns)
    at_us = instants_us("spine", EVENT_TIME, spine[EVENT_TIME])
    needed = _needed_columns(service)
    blocked = {} if tasks is None else _blocked_tables(tables, versions, needed)
    if tasks is not None and spine.num_rows + sum(table.rows for table in blocked.values()) >= tasks.from_rows:
        with tasks.pool() as pool:
            joined = _join_as_tasks(service, spine, at_us, blocked, pool, knowledge_cutoff)
    else:
        joined = _join_here(service, spine, at_us, tables, versions, needed, knowledge_cutoff)
    columns = {name: column for each in joined.values() for name, column in each.columns.items()}
    for definition in service.on_demand:
        function = OnDemandFunction(definition)
        request = {name: _request_column(function, spine, name) for name in definition.request_inputs}
        columns |= function.compute({**columns, **request}, spine.num_rows)
    result = spine
    for name in service.columns:
        result = append_feature(result, name, columns[name])
    return result, {resolved.view.name: joined[resolved.view.name].late_rows for resolved in service.views}


def _join_here(
    service: ResolvedService,
    spine: Any,
    at_us: Ints,
    tables: DeltaTables,
    versions: Mapping[str, int],
    needed: Mapping[str, Sequence[str]],
    knowledge_cutoff: bool,
) -> Joined:
    spans = _spans(service, at_us)
    rows_of = {
        table: tables.read(table, version=versions[table], columns=columns, **spans.get(table, {}))
        for table, columns in needed.items()
    }
    joined = {}
    for resolved in service.views:
        view = resolved.view.narrowed(resolved.features)
        rows = rows_of[resolved.table]
        rows, sequence = with_event_time(view, rows, rows[SEQUENCE].to_numpy())
        joined[view.name] = join_view(
            spine,
            at_us,
            view,
            rows.select(view.table_columns),
            sequence,
            features=resolved.features,
            knowledge_cutoff=knowledge_cutoff,
        )
    return joined


def _join_as_tasks(
    service: ResolvedService,
    spine: Any,
    at_us: Ints,
    blocked: Mapping[str, BlockedTable],
    pool: TaskPool,
    knowledge_cutoff: bool,
) -> Joined:
    """Views that read one table by the same keys share its buckets."""
    together: dict[tuple[str, tuple[str, ...]], list[ResolvedView]] = {}
    for resolved in service.views:
        together.setdefault((resolved.table, resolved.view.keys), []).append(resolved)
    joined: dict[str, JoinedView] = {}
    for (table, _), views in together.items():
        wanted = [WantedView(resolved.view, resolved.features) for resolved in views]
        found = join_in_buckets(pool, spine, at_us, wanted, blocked[table], knowledge_cutoff=knowledge_cutoff)
        joined |= {each.view.name: result for each, result in zip(wanted, found, strict=True)}
    return joined


def _needed_columns(service: ResolvedService) -> dict[str, list[str]]:
    """Table -> what the service's views need of it."""
    needed: dict[str, dict[str, None]] = {}
    for resolved in service.views:
        columns = resolved.view.narrowed(resolved.features).table_columns
        needed.setdefault(resolved.table, {}).update(dict.fromkeys(columns))
    return {table: [*columns, SEQUENCE] for table, columns in needed.items()}


def _spans(service: ResolvedService, at_us: Ints) -> dict[str, dict[str, Any]]:
    """Table -> bounds of event time beyond which no row bears on any of the instants; tables without any left out.

    An audit of a few rows must not cost more the longer a table has grown.
    """
    if not len(at_us):
        return {}
    first, last = int(at_us.min()), int(at_us.max())
    times: dict[str, set[str]] = {}
    oldest: dict[str, int] = {}
    for resolved in service.views:
        view = resolved.view.narrowed(resolved.features)
        aggregated = {aggregate.name for aggregate in view.aggregates}
        reach = span_us(view.longest_window)
        if view.created_at is not None or not aggregated.issuperset(resolved.features):
            reach = max(reach, span_us(view.ttl))  # the newest row itself is asked for
        times.setdefault(resolved.table, set()).add(view.event_time)
        oldest[resolved.table] = min(oldest.get(resolved.table, first), first - reach)
    return {
        table: {"time_column": names.pop(), "start": _instant(oldest[table]), "end": _instant(last + 1)}
        for table, names in times.items()
        if len(names) == 1
    }


def _instant(microseconds: int) -> datetime | None:
    """``None`` beyond what an instant can be."""
    try:
        return from_us(microseconds)
    except OverflowError:
        return None


def _blocked_tables(
    tables: DeltaTables, versions: Mapping[str, int], needed: Mapping[str, Sequence[str]]
) -> dict[str, BlockedTable]:
    blocked = {}
    for table, columns in needed.items():
        with tables.opened(table, versions[table]) as handle:
            blocked[table] = blocks_of(table, handle, columns)
    return blocked


def _request_column(function: OnDemandFunction, spine: Any, name: str) -> Any:
    check_columns("spine", spine.column_names, [name])
    return typed("spine", name, spine[name], function.request_type(name)).combine_chunks()
