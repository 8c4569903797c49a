"""The output table: all rows of a job become visible in one commit, or none do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import orjson
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions

from raymlops.errors import AlreadyRegistered, SchemaMismatch, StorageError
from raymlops.records.scoring import OutputMode, ScoredFile
from raymlops.tables.files import failure, open_files, parse_root, storage_options_for

__all__ = ["OutputTable"]

_ATTEMPTS = 16


class OutputTable:
    """A Delta table that predictions are written to.

    Args:
        uri: Directory or URI.
        options: Options of the object store.
    """

    def __init__(self, uri: str, options: Mapping[str, str] | None = None) -> None:
        self._uri = uri
        root = parse_root(uri)
        self._options = storage_options_for(root, options)
        self.files = open_files(root, options)

    def committed(self, job: str) -> int | None:
        """The version that holds a job's rows; ``None``: none does."""
        handle = self._find()
        return None if handle is None else handle.transaction_version(_application(job))

    def require_room(self, schema: pa.Schema, mode: OutputMode) -> None:
        """Refuse a job whose rows could not be committed in the end.

        Raises:
            AlreadyRegistered: The table is there, and ``mode`` is ``create``.
            SchemaMismatch: It has other columns, and ``mode`` is ``append``.
            StorageError: It cannot be read.
        """
        handle = self._find()
        if handle is None:
            return
        if mode == "create":
            raise AlreadyRegistered(f"{self._uri} is there already: choose append or overwrite", path=self._uri)
        wanted, there = Schema.from_arrow(schema), handle.schema()
        if mode == "append" and {f.name: str(f.type) for f in wanted.fields} != {
            f.name: str(f.type) for f in there.fields
        }:
            names = [field.name for field in there.fields]
            raise SchemaMismatch(f"{self._uri} has other columns or types: {names}, got {schema.names}", columns=names)

    def missing(self, files: Sequence[ScoredFile]) -> list[ScoredFile]:
        """Files that are not there, or not as long as they were written.

        Raises:
            StorageError: The store does not answer.
        """
        return [file for file in files if self._size(file.path) != file.size_bytes]

    def commit(
        self, job: str, schema: pa.Schema, files: Sequence[ScoredFile], mode: OutputMode, facts: Mapping[str, str]
    ) -> int:
        """Make the files part of the table; a job that is committed is not committed again.

        Returns:
            The version that holds them.

        Raises:
            AlreadyRegistered, SchemaMismatch: As ``require_room``.
            StorageError: Nothing was committed.
        """
        for attempt in range(_ATTEMPTS):
            if (version := self.committed(job)) is not None:
                return version
            self.require_room(schema, mode)
            try:
                return self._try_commit(job, schema, files, mode, facts)
            except CommitFailedError:
                time.sleep(0.01 * 2 ** min(attempt, 5))  # another writer was faster
            except (DeltaError, OSError) as error:
                raise StorageError(f"{self._uri} cannot be written: {failure(error)}", path=self._uri) from error
        raise StorageError(f"{self._uri}: other writers were faster {_ATTEMPTS} times", path=self._uri)

    def _try_commit(
        self, job: str, schema: pa.Schema, files: Sequence[ScoredFile], mode: OutputMode, facts: Mapping[str, str]
    ) -> int:
        handle = self._find()
        version = 0 if handle is None else handle.version() + 1
        properties = CommitProperties(
            max_commit_retries=0,
            custom_metadata=dict(facts),
            app_transactions=[Transaction(_application(job), version)],
        )
        added = [_action(file) for file in files]
        if handle is None:
            create_table_with_add_actions(
                self._uri,
                Schema.from_arrow(schema),
                added,
                mode="error",
                storage_options=self._options,
                commit_properties=properties,
            )
        else:
            handle.create_write_transaction(
                added,
                "overwrite" if mode == "overwrite" else "append",
                Schema.from_arrow(schema),
                commit_properties=properties,
            )
        return version

    def _find(self) -> DeltaTable | None:
        try:
            return DeltaTable(self._uri, storage_options=self._options)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            raise StorageError(f"{self._uri} cannot be read: {failure(error)}", path=self._uri) from error

    def _size(self, path: str) -> int:
        try:
            return self.files.size_bytes(path)
        except FileNotFoundError:
            return -1
        except OSError as error:
            raise StorageError(f"{self.files.uri(path)} cannot be looked at: {error}", path=path) from error


def _application(job: str) -> str:
    return f"raymlops/score/{job}"


def _action(file: ScoredFile) -> AddAction:
    statistics = orjson.dumps({"numRecords": file.rows}).decode()
    return AddAction(file.path, file.size_bytes, {}, time.time_ns() // 1_000_000, True, statistics)
