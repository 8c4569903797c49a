"""Rows that features are joined to, from a file or a frame, with their keys in the types of the tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from raymlops.clock import time_zone_fault
from raymlops.errors import ConfigError, SchemaMismatch
from raymlops.features.catalog.applied import ResolvedService, ResolvedView
from raymlops.features.definitions.schema import EVENT_TIME, arrow_type, key_column
from raymlops.tables.columns import INSTANT, Reading, as_table
from raymlops.tables.files import failure
from raymlops.tables.sources import FileSource

__all__ = ["request_rows", "with_integer_keys"]

KeyTypes = Callable[[ResolvedView], "tuple[type, ...] | None"]


def request_rows(owner: str, given: Any, service: ResolvedService, key_types: KeyTypes, reading: Reading) -> Any:
    """A table of the rows that features are joined to; texts of CSV are keys as the views' tables have them.

    Args:
        owner: Whom an error names.
        given: A table or frame, or the path of a Parquet or CSV file, or of a directory of such.
        service: What is joined to them.
        key_types: Tells what the keys of a view are; ``None`` as long as its table has no rows.
        reading: How times are read that have no zone, or are finer than microseconds.

    Raises:
        ConfigError: there is no such time zone.
        SchemaMismatch: files differ in the types of their columns.
        RaymlopsError: as ``FileSource`` and ``as_table`` do.
    """
    if not isinstance(given, Path):
        return as_table(owner, given, **reading)
    types: dict[str, Any] = {EVENT_TIME: INSTANT}
    for computed in service.on_demand:
        types |= {name: arrow_type(computed.request_type(name)) for name in computed.request_inputs}
    keys: dict[str, Any] = {}
    for resolved in service.views:
        known = zip(resolved.view.join_columns, key_types(resolved) or (), strict=False)
        keys |= {name: pa.int64() if kind is int else pa.string() for name, kind in known}
    time_zone = reading.get("time_zone")
    if time_zone is not None and (fault := time_zone_fault(time_zone)) is not None:
        raise ConfigError(f"{owner}: {fault}")
    tables = FileSource(given).typed_tables({**types, **keys}, keys=keys, time_zone=time_zone)
    try:
        plain = [table.replace_schema_metadata(None) for table in tables]
        rows = pa.concat_tables(plain, promote_options="default")
    except pa.ArrowException as error:
        raise SchemaMismatch(f"{owner}: the files of {given} must have the same types: {failure(error)}") from error
    return as_table(owner, rows, **reading)


def with_integer_keys(owner: str, rows: Any, service: ResolvedService) -> Any:
    """Rows whose keys are integers where a frame has them as whole floats, as it does beside missing ones.

    Raises:
        SchemaMismatch: a float is not whole.
    """
    for name in {name for resolved in service.views for name in resolved.view.join_columns}:
        if pa.types.is_floating(rows[name].type):
            rows = rows.set_column(rows.column_names.index(name), name, key_column(owner, name, rows[name]))
    return rows
