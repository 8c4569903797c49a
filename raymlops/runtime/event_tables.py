"""Prediction events and labels in Delta tables, as the monitor sees them."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.features.delta import DeltaTables

__all__ = ["DeltaEventTables", "served_rows"]


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
