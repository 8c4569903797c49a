"""Delta tables: what was ingested, in order, at most once per ingest id, every version readable."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from raymlops.errors import NotFoundError, SchemaMismatch, StorageError
from raymlops.features.schema import INSTANT
from raymlops.features.timeline import SEQUENCE

__all__ = ["DeltaTables"]

_COMPACT_EVERY = 128
_COMPACTED_BYTES = 32 << 20


class DeltaTables:
    """Append-only Delta tables under one directory, each with a column ``_seq`` that numbers its rows as they arrived.

    Thread-safe. Any process may read; one process at a time may append to a table. An append is one atomic commit:
    killed at any instant, it is there or not. Every so many appends small files are packed into larger ones, which
    changes no row and leaves older versions readable.

    Args:
        root: Directory of the tables; made at the first append.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.RLock()
        self._handles: dict[str, DeltaTable] = {}
        self._next_sequence: dict[str, int] = {}

    def exists(self, name: str) -> bool:
        """Whether anything was ever appended."""
        return (self._root / name / "_delta_log").is_dir() and DeltaTable.is_deltatable(str(self._root / name))

    def append(self, name: str, table: Any, *, ingest_id: str) -> tuple[int, bool]:
        """Append rows in one commit; the first append makes the table.

        Args:
            name: Name of the table.
            table: Rows; the columns and types of the first append are the table's.
            ingest_id: An append with an id that was there before changes nothing.

        Returns:
            The version that holds the rows, and whether they were there already.

        Raises:
            SchemaMismatch: columns or types are not the table's.
            StorageError: nothing was written.
        """
        with self._lock, self._named(name, "append"):
            handle = self._current(name) if self.exists(name) else None
            if handle is not None:
                version = handle.transaction_version(ingest_id)
                if version is not None:
                    return version, True
                table = _in_schema(name, table, handle)
            untyped = [field.name for field in table.schema if pa.types.is_null(field.type)]
            if untyped:
                raise SchemaMismatch(f"table {name!r}: columns {untyped} must have a type, got null", columns=untyped)
            version = 0 if handle is None else handle.version() + 1
            first = self._sequence_after(name, handle)
            numbered = table.append_column(SEQUENCE, pa.array(np.arange(first, first + table.num_rows)))
            (self._root / name).mkdir(parents=True, exist_ok=True)
            write_deltalake(
                str(self._root / name) if handle is None else handle,
                numbered,
                mode="append",
                commit_properties=CommitProperties(app_transactions=[Transaction(ingest_id, version)]),
            )
            self._next_sequence[name] = first + table.num_rows
            if version and version % _COMPACT_EVERY == 0 and handle is not None:
                handle.optimize.compact(target_size=_COMPACTED_BYTES)
            return version, False

    def version(self, name: str) -> int:
        """The newest version of a table.

        Raises:
            NotFoundError: there is no such table.
            StorageError: it cannot be read.
        """
        with self._lock, self._named(name, "read"):
            return int(self._current(name).version())

    def last_sequence(self, name: str) -> int:
        """``_seq`` of the last row; -1 for a table without rows.

        Raises:
            NotFoundError: there is no such table.
            StorageError: it cannot be read.
        """
        with self._lock, self._named(name, "read"):
            return self._sequence_after(name, self._current(name)) - 1

    def schema(self, name: str) -> Any:
        """The Arrow schema of a table, ``_seq`` included.

        Raises:
            NotFoundError: there is no such table.
            StorageError: it cannot be read.
        """
        with self._lock, self._named(name, "read"):
            return _schema_of(self._current(name))

    def read(
        self,
        name: str,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        time_column: str = "event_time",
        after_sequence: int | None = None,
    ) -> Any:
        """Read rows, in the order they arrived.

        Args:
            name: Name of the table.
            version: A version of it; ``None``: the newest.
            columns: The columns wanted, ``_seq`` among them if need be; ``None``: all but ``_seq``.
            start: Only rows with ``time_column`` at or after it.
            end: Only rows with ``time_column`` before it.
            time_column: Column that ``start`` and ``end`` are about.
            after_sequence: Only rows that arrived after this ``_seq``.

        Raises:
            NotFoundError: there is no such table, or no such version of it.
            SchemaMismatch: the table lacks a column.
            StorageError: it cannot be read.
        """
        condition = None
        for bound, rule in ((start, "ge"), (end, "lt"), (after_sequence, "gt")):
            if bound is None:
                continue
            field = ds.field(SEQUENCE if rule == "gt" else time_column)
            limit = pa.scalar(bound, pa.int64() if rule == "gt" else INSTANT)
            term = {"ge": field >= limit, "lt": field < limit, "gt": field > limit}[rule]
            condition = term if condition is None else condition & term
        with self._lock, self._named(name, "read"):
            handle = self._current(name) if version is None else self._at(name, version)
            names = _schema_of(handle).names
            wanted = [column for column in names if column != SEQUENCE] if columns is None else list(columns)
            missing = [column for column in wanted if column not in names]
            if missing:
                raise SchemaMismatch(f"table {name!r}: columns {missing} do not exist, got {names}", columns=missing)
            dataset = handle.to_pyarrow_dataset()
        with self._named(name, "read"):
            rows = dataset.to_table(columns=list(dict.fromkeys([*wanted, SEQUENCE])), filter=condition)
        sequence = rows[SEQUENCE].to_numpy()
        if (np.diff(sequence) < 0).any():
            rows = rows.take(pa.array(np.argsort(sequence)))
        return rows.select(wanted)

    def _current(self, name: str) -> DeltaTable:
        handle = self._handles.get(name)
        if handle is None:
            handle = self._handles[name] = self._open(name, None)
        else:
            handle.update_incremental()
        return handle

    def _at(self, name: str, version: int) -> DeltaTable:
        newest = self._current(name).version()
        if not 0 <= version <= newest:
            raise NotFoundError(f"table {name!r}: version must be 0 to {newest}, got {version}", table=name)
        return self._handles[name] if version == newest else self._open(name, version)

    def _open(self, name: str, version: int | None) -> DeltaTable:
        try:
            return DeltaTable(str(self._root / name), version=version)
        except TableNotFoundError as error:
            raise NotFoundError(f"table {name!r} does not exist: nothing was ingested", table=name) from error

    def _sequence_after(self, name: str, handle: DeltaTable | None) -> int:
        if handle is None:
            return 0
        known = self._next_sequence.get(name)
        if known is None:
            files = pa.table(handle.get_add_actions(flatten=True))
            newest = files[f"max.{SEQUENCE}"].to_pylist() if files.num_rows else []
            known = self._next_sequence[name] = max(newest, default=-1) + 1
        return known

    @contextmanager
    def _named(self, name: str, action: str) -> Iterator[None]:
        """Turn a failure into the domain's error, and forget what is held in memory about the table."""
        try:
            yield
        except (DeltaError, OSError, pa.ArrowInvalid) as error:
            self._handles.pop(name, None)
            self._next_sequence.pop(name, None)
            path = str(self._root / name)
            raise StorageError(f"table {name!r}: cannot {action} {path}: {error}", table=name, path=path) from error


def _schema_of(handle: DeltaTable) -> Any:
    return pa.schema(handle.schema().to_arrow())


def _in_schema(name: str, table: Any, handle: DeltaTable) -> Any:
    """The rows with their columns in the table's order."""
    have = {field.name: field.type for field in _schema_of(handle) if field.name != SEQUENCE}
    given = {field.name: field.type for field in table.schema}
    if given != have:
        different = sorted(column for column in have.keys() | given.keys() if have.get(column) != given.get(column))
        pairs = {column: (str(have.get(column)), str(given.get(column))) for column in different}
        raise SchemaMismatch(
            f"table {name!r}: columns must be the table's, got (table's, given) {pairs}", columns=pairs
        )
    return table.select(list(have))
