"""Online plans: a feature service compiled for reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from raymlops.errors import ConfigError, DataError, SchemaMismatch
from raymlops.features.catalog.applied import ResolvedService, ResolvedView
from raymlops.features.definitions.fields import DType
from raymlops.features.definitions.naming import column_name
from raymlops.features.definitions.on_demand import OnDemandFunction
from raymlops.features.definitions.schema import arrow_type, check_columns, typed
from raymlops.features.online.online_keys import RequestKeys
from raymlops.features.online.online_store import OnlineStore
from raymlops.features.online.run_reader import Value, ViewReader
from raymlops.records.shown import shown

__all__ = ["KeyTypes", "OnlinePlan", "OnlineRows"]

KeyTypes = Callable[[ResolvedView], "tuple[type, ...] | None"]
"""Tells ``int`` or ``str`` for each key of a view; ``None`` as long as its table has no rows."""


@shown()
@dataclass(frozen=True)
class OnlineRows:
    """Features of some requests."""

    columns: dict[str, list[Value]]
    """Column name ``VIEW__FIELD`` -> one value per request; timestamps as microseconds since 1970."""
    event_times_us: dict[str, list[int | None]]
    """View -> per request the event time of the row its fields are from; ``None`` without a valid one."""
    missing: list[list[str]]
    """Per request the feature columns whose view had no valid row."""


class _PlannedView:
    """One view of a plan."""

    def __init__(self, resolved: ResolvedView, key_types: KeyTypes) -> None:
        view = resolved.view
        if not view.online:
            raise ConfigError(f"view {view.ref!r} is not kept online", view=view.name)
        self.name = view.name
        self.columns = [column_name(view.name, feature) for feature in resolved.features]
        self.reader = ViewReader(view, resolved.features)
        self._resolved = resolved
        self._key_types = key_types
        self._keys = self._compiled(())
        self.typed = False

    def addresses(self, rows: Sequence[Mapping[str, object]]) -> list[bytes]:
        """Where the rows' entities are kept."""
        if not self.typed:
            types = self._key_types(self._resolved)
            if types is not None:
                self._keys, self.typed = self._compiled(types), True
        return self._keys.addresses(rows)

    def _compiled(self, types: Sequence[type]) -> RequestKeys:
        view = self._resolved.view
        return RequestKeys(view.ref, view.join_columns, types, f"view {view.name!r}")


@shown("request_columns", "feature_columns")
class OnlinePlan:
    """Reads the features of one service, as of given instants, in this process.

    Immutable but for what it learns once; any number of threads may share it.

    Args:
        service: The service.
        store: The online store.
        key_types: Tells the types of a view's keys.

    Raises:
        ConfigError: a view of the service is not kept online, or an on-demand function cannot be imported.
    """

    def __init__(self, service: ResolvedService, store: OnlineStore, key_types: KeyTypes) -> None:
        self._store = store
        self._views = [_PlannedView(resolved, key_types) for resolved in service.views]
        self._on_demand = [OnDemandFunction(view) for view in service.on_demand]
        self._types: Mapping[str, DType] = service.columns
        self._fetched: dict[str, DType] = {
            column_name(resolved.view.name, feature): resolved.view.dtype_of(feature)
            for resolved in service.views
            for feature in resolved.features
        }
        self.feature_columns: tuple[str, ...] = tuple(service.columns)
        """``VIEW__FIELD`` in the service's order."""
        keys = [key for resolved in service.views for key in resolved.view.join_columns]
        inputs = [name for function in self._on_demand for name in function.view.request_inputs]
        self.request_columns: tuple[str, ...] = tuple(dict.fromkeys([*keys, *inputs]))
        """What a request row must have: the keys of the views, and what on-demand views need."""
        wanted = set(self.feature_columns)
        self._shown = [[column for column in view.columns if column in wanted] for view in self._views]

    @property
    def blocks(self) -> bool:
        """Whether a read may wait: for a server, or for who knows the types of keys, as long as they are not known."""
        return self._store.remote or not all(view.typed for view in self._views)

    def read(self, rows: Sequence[Mapping[str, object]], at_us: Sequence[int]) -> OnlineRows:
        """Read the features of N requests from one state of the store.

        Args:
            rows: N mappings that have the ``request_columns``; a null key has no row.
            at_us: N instants, microseconds since 1970. No event after it influences a value.

        Raises:
            SchemaMismatch: a request lacks a column.
            DataError: a value has the wrong type, or an instant lies before the history that is kept.
            StorageError: the store cannot be read.
        """
        columns: dict[str, list[Value]] = {}
        times: dict[str, list[int | None]] = {}
        missing: list[list[str]] = [[] for _ in rows]
        with self._store.snapshot() as snapshot:
            for view, shown in zip(self._views, self._shown, strict=True):
                values, event_times = view.reader.read(snapshot.get_many(view.addresses(rows)), at_us)
                columns.update(zip(view.columns, values, strict=True))
                times[view.name] = event_times
                if None in event_times:
                    for row, event_us in enumerate(event_times):
                        if event_us is None:
                            missing[row] += shown
        if self._on_demand:
            self._compute(rows, columns)
        return OnlineRows({name: columns[name] for name in self.feature_columns}, times, missing)

    def _compute(self, rows: Sequence[Mapping[str, object]], columns: dict[str, list[Value]]) -> None:
        fetched = {name: _array(columns[name], dtype) for name, dtype in self._fetched.items()}
        for function in self._on_demand:
            request = {name: _request_column(function, rows, name) for name in function.view.request_inputs}
            for name, column in function.compute({**fetched, **request}, len(rows)).items():
                plain = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
                columns[name] = plain.to_pylist()

    def table(self, rows: OnlineRows) -> Any:
        """The features as a table."""
        return pa.table({name: _array(rows.columns[name], dtype) for name, dtype in self._types.items()})


def _array(values: Sequence[Value], dtype: DType) -> Any:
    return pa.array(values, arrow_type(dtype))  # instants are microseconds here


def _request_column(function: OnDemandFunction, rows: Sequence[Mapping[str, object]], name: str) -> Any:
    for row in rows:
        if name not in row:
            check_columns("request", row, [name])
    values = [row[name] for row in rows]
    if function.request_type(name) == "timestamp":
        values = [_instant(name, value) if isinstance(value, str) else value for value in values]
    # Arrow would take a naive instant beside an aware one for UTC.
    naive = next((value for value in values if isinstance(value, datetime) and value.tzinfo is None), None)
    if naive is not None:
        raise SchemaMismatch(f"request: column {name!r} must hold tz-aware instants, got {naive!r}", column=name)
    try:
        column = pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise DataError(f"request: column {name!r} must hold one type: {error}", column=name) from error
    return typed("request", name, column, function.request_type(name))


def _instant(name: str, text: str) -> datetime:
    """An instant as JSON has it."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        rule = "must be an ISO 8601 instant with its offset"
        raise DataError(f"request: column {name!r} {rule}, got {text[:50]!r}", column=name) from error
