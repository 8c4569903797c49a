"""Prediction events and labels in Delta tables, as the monitor and the controller see them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.control.evidence import Task
from raymlops.features.delta import DeltaTables
from raymlops.metadata import Metadata

__all__ = ["ControlEvents", "DeltaEventTables", "served_rows"]


class DeltaEventTables:
    """One Delta table per name and schema: a model whose inputs change writes to a table beside the old one.

    Thread-safe. One process appends; any process reads.

    Args:
        root: Directory of the tables.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tables = DeltaTables(root)

    def append(self, name: str, table: pa.Table, *, ingest_id: str) -> object:
        shape = ",".join(f"{field.name}:{field.type}" for field in table.schema)
        part = hashlib.sha256(shape.encode()).hexdigest()[:12]
        return self._tables.append(f"{name}/{part}", table, ingest_id=ingest_id)

    def read(self, name: str, start: datetime | None, end: datetime | None, column: str) -> pa.Table:
        parts = sorted(path.parent.name for path in (self._root / name).glob("*/_delta_log"))
        found = [
            self._tables.read(f"{name}/{part}", start=start, end=end, time_column=column)
            for part in parts
            if self._tables.exists(f"{name}/{part}")
        ]
        return pa.concat_tables(found, promote_options="default") if found else pa.table({})


class ControlEvents:
    """What the controller reads of the monitor's tables.

    Args:
        tables: The tables.
        metadata: Tells what a version's scores mean.
        empty_events: Gives the schema where nothing was served yet.
    """

    def __init__(self, tables: DeltaEventTables, metadata: Metadata, empty_events: Callable[[], pa.Table]) -> None:
        self._tables = tables
        self._metadata = metadata
        self._empty_events = empty_events

    def events(self, model: str, since: datetime, until: datetime) -> pa.Table:
        found = self._tables.read(f"predictions/{model}", since, until, "served_at")
        return found if found.num_columns else self._empty_events()

    def labels(self, model: str, since: datetime) -> pa.Table:
        found = self._tables.read(f"labels/{model}", since, None, "event_time")
        if not found.num_columns:
            kinds = [("request_id", pa.string()), ("row", pa.int32()), ("label", pa.string())]
            return pa.schema(kinds).empty_table()
        return found

    def scoring(self, model: str, version: int) -> tuple[Task, str | None]:
        signature = self._metadata.get_version(model, version).manifest.signature
        if signature.task == "regressor":
            return "regressor", None
        if len(signature.classes) != 2:
            return "multiclass", None
        return "binary", _label_text(signature.classes[1])


def _label_text(label: str | int | float | bool) -> str:
    from raymlops.monitoring.labels import label_text

    return label_text(label)


def served_rows(events: pa.Table) -> pa.Table:
    """The events whose features were joined online, with the keys they were joined by as columns.

    An event is dated with the instant it was asked about, so that the audit recomputes the features as of then. A
    shadow was given what the champion was: its events are left out.
    """
    joined = events.filter(pc.and_(pc.is_valid(events["entity"]), pc.not_equal(events["role"], "shadow")))
    keys = pa.Table.from_pylist([orjson.loads(entity) for entity in joined["entity"].to_pylist()])
    for name in keys.column_names:
        joined = joined.append_column(name, keys[name]) if name not in joined.column_names else joined
    return joined
