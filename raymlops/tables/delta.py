"""Delta tables: what was ingested, in order, at most once per ingest id, every version readable."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from raymlops.errors import NotFoundError, SchemaMismatch, StorageError
from raymlops.records.names import check_path
from raymlops.tables.columns import SEQUENCE
from raymlops.tables.digests import DIGEST, check_repeat
from raymlops.tables.files import Root, child, failure, parse_root, storage_options_for
from raymlops.tables.numbering import Batches, numbered_stream, numbered_table
from raymlops.tables.row_bounds import row_bounds

__all__ = ["KEEP_LOG", "NUMBERING", "Appended", "Batches", "DeltaTables"]

_log = logging.getLogger(__name__)

_COMPACT_EVERY = 128
_COMPACTED_BYTES = 32 << 20
_ATTEMPTS = 64
_LONGEST_PAUSE_S = 0.5
NUMBERING = "raymlops/sequence"
"""Application id whose transaction version is the next ``_seq``. Appends that run at the same time both change it,
which is what makes the later one fail instead of being numbered like the earlier one."""
_CONFIGURATION = {
    # A version that a training set pins is read by the log up to it, however old: the log is never cut.
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.enableExpiredLogCleanup": "false",
}
_STATISTICS = "delta.dataSkippingStatsColumns"
KEEP_LOG = PostCommitHookProperties(cleanup_expired_logs=False)
"""What every commit is made with, also to a table that has other settings."""


class Appended(NamedTuple):
    """The table version and sequence numbers of appended rows."""

    version: int
    duplicate: bool
    """Whether rows of this id were there already, and nothing was written."""
    first_sequence: int | None
    """``_seq`` of the first row; ``None`` for a duplicate."""


class DeltaTables:
    """Append-only Delta tables under one root, each with a column ``_seq`` that numbers its rows as they arrived.

    Thread-safe; any process may read, any may append. An append is one atomic commit: killed at any instant, it is
    there or not. Of appends at the same time one is first, the others are numbered behind it. Every so many appends
    small files are packed into larger ones, which changes no row and leaves older versions readable.

    Args:
        root: Directory or URI of the tables; made at the first append.
        storage_options: Options of the object store; its secrets come from the environment.
        skip_by: Columns whose extremes the log of a new table keeps, beside ``_seq``'s: a read that bounds them opens
            the files alone that may hold its rows. ``None``: the first columns'. Few columns make reads and appends of
            wide tables many times as fast.
    """

    def __init__(
        self,
        root: Root,
        storage_options: Mapping[str, str] | None = None,
        *,
        skip_by: Sequence[str] | None = None,
    ) -> None:
        self._root = parse_root(root)
        kept = {} if skip_by is None else {_STATISTICS: ",".join([*skip_by, SEQUENCE])}
        self._configuration = _CONFIGURATION | kept
        self._options = storage_options_for(self._root, storage_options)
        self._lock = threading.RLock()
        self._handles: dict[str, DeltaTable] = {}
        self._next_sequence: dict[str, tuple[int, int]] = {}
        """Table -> version, and the ``_seq`` that comes after its rows."""
        self._seen: set[str] = set()
        self._appending: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def exists(self, name: str) -> bool:
        """Whether anything was ever appended.

        Raises:
            StorageError: the table is there and cannot be read.
        """
        with self._lock, self._named(name, "read"):
            return self._find(name) is not None

    def append(
        self,
        name: str,
        rows: Any,
        *,
        ingest_id: str,
        others: Sequence[str] = (),
        digests: Mapping[str, int] | None = None,
    ) -> Appended:
        """Append rows in one commit; the first append makes the table.

        Args:
            name: Name of the table.
            rows: A table, or ``Batches`` to be streamed; the columns and types of the first append are the table's.
            ingest_id: An append with an id that was there before changes nothing.
            others: More ids that the table knows from this commit on, for rows of several that share it.
            digests: Id -> short digest of its rows, by which a repeat is told from an id that is used twice.

        Raises:
            ConflictError: the id was used for other rows before; ids from before there were digests are not looked at.
            SchemaMismatch: columns or types are not the table's.
            StorageError: nothing was written.
        """
        for each in (ingest_id, *others):
            if each == NUMBERING:
                raise SchemaMismatch(f"table {name!r}: ingest_id must not be {NUMBERING!r}, which numbers the rows")
            if each.startswith(DIGEST):
                raise SchemaMismatch(f"table {name!r}: ingest_id must not begin with {DIGEST!r}, got {each!r}")
        untyped = [field.name for field in rows.schema if pa.types.is_null(field.type)]
        if untyped:
            raise SchemaMismatch(f"table {name!r}: columns {untyped} must have a type, got null", columns=untyped)
        with self._lock:
            appending = self._appending[name]
        with appending, self._named(name, "append"):
            for attempt in range(_ATTEMPTS):
                done = self._try_append(name, rows, (ingest_id, *others), digests or {})
                if done is not None:
                    return done
                # Whoever lost draws lots for when to try again, so that the same do not meet for ever.
                time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, 0.005 * 2**attempt)))  # noqa: S311 - no secret
            raise StorageError(f"table {name!r}: other writers were faster {_ATTEMPTS} times", table=name)

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
        until_sequence: int | None = None,
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
            until_sequence: Only rows that arrived up to this ``_seq``.

        Raises:
            NotFoundError: there is no such table, or no such version of it.
            SchemaMismatch: the table lacks a column.
            StorageError: it cannot be read.
        """
        bounds = row_bounds(time_column, start, end, after_sequence, until_sequence)
        with self._named(name, "read"):
            with self._lock:
                handle = self._current(name) if version is None else self._at(name, version)
                names = _schema_of(handle).names
                wanted = [column for column in names if column != SEQUENCE] if columns is None else list(columns)
                missing = [column for column in wanted if column not in names]
                if missing:
                    raise SchemaMismatch(
                        f"table {name!r}: columns {missing} do not exist, got {names}", columns=missing
                    )
                dataset = handle.to_pyarrow_dataset(file_pruning_predicate=bounds.files)
            rows = dataset.to_table(columns=list(dict.fromkeys([*wanted, SEQUENCE])), filter=bounds.rows)
        sequence = rows[SEQUENCE].to_numpy()
        if (np.diff(sequence) < 0).any():
            rows = rows.take(pa.array(np.argsort(sequence)))
        return rows.select(wanted)

    @contextmanager
    def opened(self, name: str, version: int | None = None) -> Iterator[DeltaTable]:
        """Open a table for reading, unshared; failures while it is used are raised as ``StorageError``.

        Raises:
            NotFoundError: there is no such table, or no such version of it.
            StorageError: it cannot be read.
        """
        with self._named(name, "read"):
            with self._lock:
                newest = self._current(name).version()
            if version is not None and not 0 <= version <= newest:
                raise NotFoundError(f"table {name!r}: version must be 0 to {newest}, got {version}", table=name)
            yield self._open(name, version)

    def _try_append(
        self, name: str, rows: Any, ingest_ids: Sequence[str], digests: Mapping[str, int]
    ) -> Appended | None:
        """Try to commit once; ``None`` if another writer committed first."""
        with self._lock:
            # A table that was there must be there: made anew, it would number its rows from the start.
            handle = self._current(name) if name in self._seen else self._find(name)
            version = None if handle is None else handle.transaction_version(ingest_ids[0])
            if handle is not None and version is not None:
                kept = handle.transaction_version(DIGEST + ingest_ids[0])
                check_repeat(name, ingest_ids[0], kept, digests.get(ingest_ids[0]))
                return Appended(version, duplicate=True, first_sequence=None)
            columns = None if handle is None else _columns_in_order(name, rows.schema, handle)
            first = self._sequence_after(name, handle)
            number = 0 if handle is None else handle.version() + 1
            marks = [Transaction(each, number) for each in ingest_ids]
            marks += [Transaction(DIGEST + each, digests[each]) for each in ingest_ids if each in digests]
            if isinstance(rows, pa.Table):
                numbered = numbered_table(rows, columns or rows.column_names, first)
                return self._commit(name, handle, numbered, marks, first, first + rows.num_rows)
            # A long write holds nobody up: it goes through a handle of its own.
            handle = None if handle is None else self._open(name, handle.version())
        numbered = numbered_stream(rows, columns or rows.schema.names, first)
        return self._commit(name, handle, numbered, marks, first, first + rows.num_rows)

    def _commit(
        self, name: str, handle: DeltaTable | None, numbered: Any, marks: Sequence[Any], first: int, following: int
    ) -> Appended | None:
        version = 0 if handle is None else handle.version() + 1
        marks = [*marks, Transaction(NUMBERING, following)]
        try:
            write_deltalake(
                self._uri(name) if handle is None else handle,
                numbered,
                mode="error" if handle is None else "append",
                configuration=self._configuration if handle is None else None,
                storage_options=self._options,
                commit_properties=CommitProperties(max_commit_retries=0, app_transactions=marks),
                post_commithook_properties=KEEP_LOG,
            )
        except DeltaError as error:
            with self._lock:
                self._handles.pop(name, None)
                lost_the_race = isinstance(error, CommitFailedError) or (handle is None and self._find(name))
            if not lost_the_race:
                raise
            return None
        with self._lock:
            self._next_sequence[name] = (version, following)
            self._seen.add(name)
        if version and version % _COMPACT_EVERY == 0:
            self._compact(name)
        return Appended(version, duplicate=False, first_sequence=first)

    def _compact(self, name: str) -> None:
        try:
            self._open(name, None).optimize.compact(target_size=_COMPACTED_BYTES, post_commithook_properties=KEEP_LOG)
        except CommitFailedError as error:
            _log.info("table %r is not packed this time, another writer was faster: %s", name, failure(error))

    def _find(self, name: str) -> DeltaTable | None:
        """The newest state of a table; ``None``: nothing was ever appended."""
        try:
            return self._current(name)
        except TableNotFoundError:
            return None

    def _uri(self, name: str) -> str:
        check_path("name of a table", name)
        return str(child(self._root, name))

    def _current(self, name: str) -> DeltaTable:
        handle = self._handles.get(name)
        if handle is None:
            handle = self._handles[name] = self._open(name, None)
            self._seen.add(name)
        else:
            handle.update_incremental()
        return handle

    def _at(self, name: str, version: int) -> DeltaTable:
        newest = self._current(name).version()
        if not 0 <= version <= newest:
            raise NotFoundError(f"table {name!r}: version must be 0 to {newest}, got {version}", table=name)
        return self._handles[name] if version == newest else self._open(name, version)

    def _open(self, name: str, version: int | None) -> DeltaTable:
        return DeltaTable(self._uri(name), version=version, storage_options=self._options)

    def _sequence_after(self, name: str, handle: DeltaTable | None) -> int:
        if handle is None:
            return 0
        version, following = self._next_sequence.get(name, (-1, 0))
        if version != handle.version():
            following = handle.transaction_version(NUMBERING)
            if following is None:
                files = pa.table(handle.get_add_actions(flatten=True))
                newest = files[f"max.{SEQUENCE}"].to_pylist() if files.num_rows else []
                following = max(newest, default=-1) + 1
            self._next_sequence[name] = (handle.version(), following)
        return following

    def _forget(self, name: str) -> None:
        with self._lock:
            self._handles.pop(name, None)
            self._next_sequence.pop(name, None)

    @contextmanager
    def _named(self, name: str, action: str) -> Iterator[None]:
        """Raise a ``StorageError`` for a failure of the library, and forget the cached state of the table."""
        uri = self._uri(name)
        try:
            yield
        except TableNotFoundError as error:
            self._forget(name)
            if name in self._seen:
                raise _removed(name, action, uri) from error
            raise NotFoundError(f"table {name!r} does not exist: nothing was ingested", table=name) from error
        except (DeltaError, OSError, pa.ArrowException) as error:
            self._forget(name)
            if self._is_gone(name):
                raise _removed(name, action, uri) from error
            reason = f"table {name!r}: cannot {action} {uri}: {failure(error)}"
            raise StorageError(reason, table=name, path=uri) from error

    def _is_gone(self, name: str) -> bool:
        try:
            self._open(name, None)
        except TableNotFoundError:
            return name in self._seen
        except (DeltaError, OSError):
            return False
        return False


def _removed(name: str, action: str, uri: str) -> StorageError:
    reason = f"table {name!r}: cannot {action} {uri}/_delta_log: its rows were removed behind the store's back"
    return StorageError(reason, table=name, path=uri)


def _schema_of(handle: DeltaTable) -> Any:
    return pa.schema(handle.schema().to_arrow())


def _columns_in_order(name: str, given: Any, handle: DeltaTable) -> list[str]:
    """The columns of rows to append, in the table's order."""
    have = {field.name: field.type for field in _schema_of(handle) if field.name != SEQUENCE}
    types = {field.name: field.type for field in given}
    if types != have:
        different = sorted(column for column in have.keys() | types.keys() if have.get(column) != types.get(column))
        pairs = {column: (str(have.get(column)), str(types.get(column))) for column in different}
        raise SchemaMismatch(
            f"table {name!r}: columns must be the table's, got (table's, given) {pairs}", columns=pairs
        )
    return list(have)
