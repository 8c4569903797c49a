"""The features of a service, joined to a spine from given versions of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raymlops.features.applied import ResolvedService
from raymlops.features.delta import DeltaTables
from raymlops.features.on_demand import OnDemandFunction
from raymlops.features.point_in_time import append_feature, join_view
from raymlops.features.schema import check_columns, instants_us, typed
from raymlops.features.timeline import SEQUENCE, with_event_time

__all__ = ["EVENT_TIME", "join_service"]

EVENT_TIME = "event_time"


def join_service(
    service: ResolvedService,
    spine: Any,
    tables: DeltaTables,
    versions: Mapping[str, int],
    *,
    knowledge_cutoff: bool,
) -> tuple[Any, dict[str, int]]:
    """Join the features of a service to a spine, from given versions of its tables.

    Args:
        service: The service.
        spine: Keys, ``event_time`` and request columns.
        tables: The tables.
        versions: Table -> version to read.
        knowledge_cutoff: As in ``point_in_time_join``.

    Returns:
        The joined table; and per view the spine rows whose chosen row was created after their instant.

    Raises:
        RaymlopsError: as ``point_in_time_join`` and the tables do.
    """
    check_columns("spine", spine.column_names, [EVENT_TIME])
    at_us = instants_us("spine", EVENT_TIME, spine[EVENT_TIME])
    columns: dict[str, Any] = {}
    late: dict[str, int] = {}
    rows_of = _read_tables(service, tables, versions)
    for resolved in service.views:
        view = resolved.view.narrowed(resolved.features)
        rows = rows_of[resolved.table]
        rows, sequence = with_event_time(view, rows, rows[SEQUENCE].to_numpy())
        joined = join_view(
            spine,
            at_us,
            view,
            rows.select(view.table_columns),
            sequence,
            features=resolved.features,
            knowledge_cutoff=knowledge_cutoff,
        )
        columns |= joined.columns
        late[view.name] = joined.late_rows
    for definition in service.on_demand:
        function = OnDemandFunction(definition)
        request = {name: _request_column(function, spine, name) for name in definition.request_inputs}
        columns |= function.compute({**columns, **request}, spine.num_rows)
    result = spine
    for name in service.columns:
        result = append_feature(result, name, columns[name])
    return result, late


def _read_tables(service: ResolvedService, tables: DeltaTables, versions: Mapping[str, int]) -> dict[str, Any]:
    """What the service's views need of each table, read once."""
    needed: dict[str, dict[str, None]] = {}
    for resolved in service.views:
        columns = resolved.view.narrowed(resolved.features).table_columns
        needed.setdefault(resolved.table, {}).update(dict.fromkeys(columns))
    return {
        table: tables.read(table, version=versions[table], columns=[*columns, SEQUENCE])
        for table, columns in needed.items()
    }


def _request_column(function: OnDemandFunction, spine: Any, name: str) -> Any:
    check_columns("spine", spine.column_names, [name])
    return typed("spine", name, spine[name], function.request_type(name)).combine_chunks()
