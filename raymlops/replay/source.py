"""A project's data, made ready to be replayed: by a function of its own, or from the table that it names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raymlops.delivery.project import read_project
from raymlops.errors import ConfigError, DataError
from raymlops.features import Definition
from raymlops.features.catalog.applied import CatalogState
from raymlops.features.catalog.draft import Draft
from raymlops.projects.rows import ASKED_AT, LABEL, LABEL_TIME, ROW_ID, project_rows
from raymlops.records.bundles import ProjectSpec
from raymlops.replay.tables import AT, KNOWN, REQUEST_ID, ReplayTables, ViewRows, between
from raymlops.replay.tables import LABEL as LABEL_COLUMN

__all__ = ["Project", "imported", "known_classes_only", "load_project", "request_keys"]

_BEGINNING, _END = datetime(1970, 1, 2, tzinfo=UTC), datetime(2261, 1, 1, tzinfo=UTC)
_BAD_DATA = (ImportError, AttributeError, TypeError, ValueError, LookupError, OSError)


@dataclass(frozen=True)
class Project:
    """A project, its modules imported.

    Attributes:
        directory: Holds ``project.yaml``.
        spec: The project's ``ProjectSpec``.
        definitions: Its feature definitions.
        tables: Its data.
    """

    directory: Path
    spec: ProjectSpec
    definitions: Sequence[Definition]
    tables: ReplayTables


def load_project(directory: Path) -> Project:
    """Read a project and its data. Its modules are imported in this process.

    Raises:
        ConfigError: The project, a module or the table is not there or malformed, or no data is named.
        DataError: The table does not have what the project says.
    """
    spec = read_project(directory)
    if spec.replay.source is None and spec.data is None:
        raise ConfigError(f"{directory / 'project.yaml'}: needs a section data, or replay.source, to be replayed")
    place = str(directory.resolve())
    if place not in sys.path:
        sys.path.insert(0, place)
    definitions = list(imported(spec.definitions, "definitions"))
    tables = _from_function(spec) if spec.replay.source is not None else _from_table(directory, spec, definitions)
    tables.check()
    return Project(directory, spec, definitions, tables)


def known_classes_only(project: Project, trained_until: datetime) -> Project:
    """The project without the rows of classes that no row of the training part has: no model knows them at first.

    The service refuses a label that names no class of its model. Rows of views stay: a retraining may learn the class.
    """
    if project.spec.task != "classifier":
        return project
    tables = project.tables
    seen = pc.unique(between(tables.labels, KNOWN, None, trained_until)[LABEL_COLUMN])
    known = pc.is_in(tables.labels[LABEL_COLUMN], value_set=seen)
    unknown = tables.labels.filter(pc.invert(known))
    if not unknown.num_rows:
        return project
    asked = tables.requests.filter(pc.invert(pc.is_in(tables.requests[REQUEST_ID], value_set=unknown[REQUEST_ID])))
    classes = sorted(pc.unique(unknown[LABEL_COLUMN]).to_pylist())
    note = (
        f"{unknown.num_rows:,} rows of the classes {classes} are not asked about: no row of the training part has them"
    )
    left = replace(tables, requests=asked, labels=tables.labels.filter(known), notes=(*tables.notes, note))
    return replace(project, tables=left)


def request_keys(definitions: Sequence[Definition], service: str) -> tuple[str, ...]:
    """Columns that requests need for the features of a service: entity keys, and inputs of on-demand views."""
    resolved = (
        Draft(CatalogState(entities={}, views={}, services={}, on_demand={}), definitions).state().resolve(service)
    )
    keys = [key for view in resolved.views for key in view.view.join_columns]
    inputs = [name for view in resolved.on_demand for name in view.request_inputs]
    return tuple(dict.fromkeys([*keys, *inputs]))


def imported(path: str, what: str) -> Any:
    """The object that a ``module:name`` names.

    Raises:
        ConfigError: There is no such module or name; ``what`` says what it was to be.
    """
    module, separator, name = path.partition(":")
    if not separator or not module or not name:
        raise ConfigError(f"{what} must be 'module:name', got {path!r}")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{what} {path!r} cannot be imported: {error}") from error


def _from_function(spec: ProjectSpec) -> ReplayTables:
    source = spec.replay.source or ""
    function = imported(source, "replay.source")
    try:
        tables = function()
    except _BAD_DATA as error:
        raise DataError(f"replay.source {source!r} failed: {type(error).__name__}: {error}") from error
    if not isinstance(tables, ReplayTables):
        raise ConfigError(f"replay.source {source!r} must return ReplayTables, got {type(tables).__name__}")
    return tables


def _from_table(directory: Path, spec: ProjectSpec, definitions: Sequence[Definition]) -> ReplayTables:
    """The project's own table: each row is a request at its time, its label arrives when it became known."""
    found = project_rows(directory, spec, definitions)
    rows, told = found.rows, found.labelled(_BEGINNING, _END)
    wanted = tuple(dict.fromkeys([*request_keys(definitions, spec.service), *spec.request_columns]))
    missing = [name for name in wanted if name not in rows.column_names]
    if missing:
        raise DataError(f"requests need the columns {missing}, which the views of the table do not have")
    requests = pa.table(
        {REQUEST_ID: rows[ROW_ID], AT: rows[ASKED_AT], **{name: _as_sent(rows[name]) for name in wanted}}
    )
    labels = pa.table({REQUEST_ID: told[ROW_ID], KNOWN: told[LABEL_TIME], LABEL_COLUMN: told[LABEL]})
    pushed = found.pushed(_BEGINNING, _END)
    return ReplayTables(
        requests, labels, {name: ViewRows(table, found.views[name].event_time) for name, table in pushed.items()}
    )


def _as_sent(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as JSON has it: an instant is a text with its offset."""
    if pa.types.is_timestamp(column.type):
        return pc.strftime(column.cast(pa.timestamp("us", tz="UTC")), format="%Y-%m-%dT%H:%M:%S+00:00")
    return column
