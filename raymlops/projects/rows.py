"""The rows of a project's own table, as its views and its model take them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.config.section import parse_duration
from raymlops.errors import ConfigError, DataError, SchemaMismatch
from raymlops.features.definitions.fields import DType
from raymlops.features.definitions.views import FeatureView
from raymlops.laboratory.intake.columns import plain_column
from raymlops.projects.instants import read_instants
from raymlops.projects.reading import check_columns, read_raw
from raymlops.records.bundles import ProjectData, ProjectSpec
from raymlops.records.learning.labels import label_text
from raymlops.tables.columns import INSTANT

__all__ = [
    "ASKED_AT",
    "EVENT_TIME",
    "LABEL",
    "LABEL_TIME",
    "OWN_COLUMNS",
    "ROW_ID",
    "ProjectRows",
    "as_type",
    "project_rows",
]

ROW_ID = "row_id"
"""Names a row by its place in the table; the id of the request that asks about it."""
ASKED_AT = "asked_at"
"""The row's own time: when its prediction is asked for."""
EVENT_TIME = "event_time"
LABEL, LABEL_TIME = "label", "label_time"
"""What is predicted, as a number; and when it became known, null where it never did."""
OWN_COLUMNS = frozenset({ROW_ID, ASKED_AT, EVENT_TIME, LABEL, LABEL_TIME})
"""Names that columns of the table, other than those of its time and its label, cannot have."""

_TICK = timedelta(microseconds=1)
_ARROW: Mapping[DType, Any] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "timestamp": INSTANT,
}


@dataclass(frozen=True)
class ProjectRows:
    """A project's own table.

    Attributes:
        rows: In the order of ``asked_at``: ``row_id``, ``asked_at``, ``label``, ``label_time``, and the columns that
            the definitions have, of their types.
        views: The views that get rows, by name.
        data: The project's section about its table.
    """

    rows: Any
    views: Mapping[str, FeatureView]
    data: ProjectData

    def asked(self, start: datetime, end: datetime) -> Any:
        """Rows with ``start <= asked_at < end``."""
        return _between(self.rows, ASKED_AT, start, end)

    def labelled(self, start: datetime, end: datetime) -> Any:
        """Rows whose label became known, ``start <= label_time < end``, in the order in which it did."""
        return _between(self._by_label_time, LABEL_TIME, start, end)

    def pushed(self, start: datetime, end: datetime) -> dict[str, Any]:
        """View -> the rows that are to be pushed to it: what became known, ``start <= event_time < end``.

        An event counts from a microsecond after its own time on, so that no feature of a row is made of the row itself.
        """
        found = {}
        for name, view in self.views.items():
            if name == self.data.events_view:
                rows = _between(self.rows, ASKED_AT, start - _TICK, end - _TICK)
                at = pc.add(rows[ASKED_AT], pa.scalar(_TICK, pa.duration("us")))
            else:
                rows = self.labelled(start, end)
                at = rows[LABEL_TIME]
            columns = {column: at if column == view.event_time else rows[column] for column in view.table_columns}
            found[name] = pa.table(columns)
        return found

    @cached_property
    def _by_label_time(self) -> Any:
        rows = self.rows.filter(pc.and_(pc.is_valid(self.rows[LABEL]), pc.is_valid(self.rows[LABEL_TIME])))
        return rows.sort_by([(LABEL_TIME, "ascending"), (ROW_ID, "ascending")])


def project_rows(directory: Path, spec: ProjectSpec, definitions: Iterable[object]) -> ProjectRows:
    """Read the table of a project.

    Args:
        directory: The project's, from which a relative path of the table goes.
        spec: The content of ``project.yaml``.
        definitions: The project's definitions.

    Raises:
        ConfigError: The project has no table, or names a view that is not defined.
        DataError: The table does not have what the definitions have, or other values.
    """
    data = spec.data
    if data is None:
        raise ConfigError(f"project {spec.name!r} must say in 'data' which table it is about")
    named = [name for name in (data.events_view, data.outcomes_view) if name is not None]
    known = {view.name: view for view in definitions if isinstance(view, FeatureView)}
    missing = [name for name in named if name not in known]
    if missing:
        raise ConfigError(f"project {spec.name!r}: data must name views that are defined, got {missing}")
    views = {name: known[name] for name in named}
    return ProjectRows(_read_rows(directory, data, views), views, data)


def _read_rows(directory: Path, data: ProjectData, views: Mapping[str, FeatureView]) -> Any:
    place = data.table if "://" in data.table else str(directory / data.table)
    times = [name for name in (data.event_time, data.label_time) if name is not None]
    raw = read_raw(place, texts=times, time_zone=data.time_zone)
    fields = {field.name: field for view in views.values() for field in view.fields if field.name not in OWN_COLUMNS}
    check_columns(raw, [("label", data.label), *(("time", name) for name in times), *(("field", f) for f in fields)])
    asked_at = read_instants(raw, data.event_time, data.time_zone)
    columns = {
        ROW_ID: pa.array([f"row-{place}" for place in range(raw.num_rows)]),
        ASKED_AT: asked_at,
        LABEL: _labels(raw, data),
        LABEL_TIME: _known_at(raw, asked_at, data),
        **{name: as_type(raw, name, field.dtype, data.time_zone) for name, field in fields.items()},
    }
    rows = pa.table(columns).append_column("_place", pa.array(np.arange(raw.num_rows)))
    rows = rows.filter(pc.is_valid(rows[ASKED_AT])).sort_by([(ASKED_AT, "ascending"), ("_place", "ascending")])
    return rows.drop_columns(["_place"])


def as_type(raw: Any, name: str, dtype: DType, time_zone: str) -> Any:
    """A column of a stranger's table as a field's type; infinite numbers are missing, lengths of time are seconds.

    Raises:
        SchemaMismatch: Its values are of another kind.
    """
    if dtype == "timestamp":
        return read_instants(raw, name, time_zone)
    column = plain_column(raw[name])
    if pa.types.is_duration(column.type):
        column = pc.divide(column.cast(pa.duration("us"), safe=False).cast(pa.int64()).cast(pa.float64()), 1e6)
    elif pa.types.is_time(column.type):
        column = pc.divide(column.cast(pa.time64("us"), safe=False).cast(pa.int64()).cast(pa.float64()), 1e6)
    try:
        found = column.cast(_ARROW[dtype])
    except pa.ArrowException as error:
        said = " ".join(str(error).split())[:160]
        raise SchemaMismatch(f"column {name!r} must hold {dtype}, got {column.type}: {said}", column=name) from error
    if dtype == "float64":
        return pc.if_else(pc.is_finite(found), found, pa.scalar(None, pa.float64()))
    return found


def _labels(raw: Any, data: ProjectData) -> Any:
    column = plain_column(raw[data.label])
    if not data.classes:
        return as_type(raw, data.label, "float64", data.time_zone)
    numbers = {name: number for number, name in enumerate(data.classes)}
    encoded = column.combine_chunks().dictionary_encode()
    texts = [None if value is None else label_text(value) for value in encoded.dictionary.to_pylist()]
    strange = [text for text in texts if text is not None and text != "nan" and text not in numbers]
    if strange:
        raise DataError(f"label {data.label!r} must be one of {list(data.classes)}, got {strange[0]!r}")
    codes = pa.array([None if text is None else numbers.get(text) for text in texts], pa.int64())
    return codes.take(encoded.indices)


def _known_at(raw: Any, asked_at: Any, data: ProjectData) -> Any:
    """Instants at which labels became known, each at least a microsecond after its row."""
    least = pc.add(asked_at, pa.scalar(_TICK, pa.duration("us")))
    if data.label_time is not None:
        told = read_instants(raw, data.label_time, data.time_zone)
        return pc.if_else(pc.less(told, least), least, told)
    try:
        delay = parse_duration(data.label_delay)
    except ValueError as error:
        raise ConfigError(f"label_delay {error}, got {data.label_delay!r}") from error
    return pc.add(asked_at, pa.scalar(max(delay, _TICK), pa.duration("us")))


def _between(table: Any, column: str, start: datetime, end: datetime) -> Any:
    """Rows of a sorted table with ``start <= column < end``."""
    values = np.asarray(table[column].cast(pa.int64()))
    low, high = (np.searchsorted(values, pa.scalar(at, INSTANT).cast(pa.int64()).as_py()) for at in (start, end))
    return table.slice(int(low), max(0, int(high - low)))
