"""The output table: all rows of a job become visible in one commit, or none do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import PurePath

import orjson
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, TableFeatures, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions

from raymlops.errors import AlreadyRegistered, SchemaMismatch, StorageError
from raymlops.records.scoring import OutputMode, ScoredFile
from raymlops.tables.files import failure, open_files, parse_root, storage_options_for

__all__ = ["OutputTable"]

_ATTEMPTS = 16
_RULES = ("delta.constraints.", "delta.columnMapping.", "delta.appendOnly", "delta.enableChangeDataFeed")
_NAIVE_TIMES = TableFeatures.TimestampWithoutTimezone


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
            SchemaMismatch: It has other columns, and ``mode`` is ``append``; or it has rules of its own.
            StorageError: It cannot be read.
        """
        handle = self._find()
        if handle is None:
            return
        if mode == "create":
            raise AlreadyRegistered(f"{self._uri} is there already: choose append or overwrite", path=self._uri)
        self._require_plain(handle)
        if mode == "overwrite":
            return
        wanted = {field.name: field for field in Schema.from_arrow(schema).fields}
        there = {field.name: field for field in handle.schema().fields}
        other = {
            name: tuple(str(each[name].type) if name in each else "none" for each in (there, wanted))
            for name in dict.fromkeys([*there, *wanted])
            if name not in there or name not in wanted or str(there[name].type) != str(wanted[name].type)
        }
        if other:
            raise SchemaMismatch(f"{self._uri} has other columns or types, (its, given): {other}", columns=list(other))
        strict = [name for name, field in there.items() if wanted[name].nullable and not field.nullable]
        if strict:
            raise SchemaMismatch(f"{self._uri} takes no null in {strict}, where the rows may have one", columns=strict)

    def _require_plain(self, handle: DeltaTable) -> None:
        """Refuse a foreign table with rules that added files would break unseen."""
        facts = handle.metadata()
        rules = [name for name in facts.configuration if name.startswith(_RULES)]
        rules += [f"partitions by {facts.partition_columns}"] if facts.partition_columns else []
        if rules:
            raise SchemaMismatch(
                f"{self._uri} has {', '.join(rules)}, which scoring does not keep: choose another table"
            )

    def missing(self, files: Sequence[ScoredFile]) -> list[ScoredFile]:
        """Files that are not there, or not as long as they were written.

        Raises:
            StorageError: The store does not answer.
        """
        return [file for file in files if self._size(file.path) != file.size_bytes]

    def remove(self, prefix: str) -> None:
        """Remove the files whose names begin so.

        Raises:
            StorageError: One cannot be removed.
        """
        try:
            self.files.remove(prefix)
        except OSError as error:
            raise StorageError(f"{self._uri}: {prefix}* cannot be removed: {failure(error)}", path=self._uri) from error

    def commit(
        self, job: str, schema: pa.Schema, files: Sequence[ScoredFile], mode: OutputMode, facts: Mapping[str, str]
    ) -> int:
        """Make the files part of the table; a job that is committed is not committed again.

        Returns:
            The version that holds them.

        Raises:
            AlreadyRegistered, SchemaMismatch: As ``require_room``.
            StorageError: Nothing was committed; or what was cannot be read, which the message then says.
        """
        for attempt in range(_ATTEMPTS):
            if (version := self.committed(job)) is not None:
                return version
            self.require_room(schema, mode)
            try:
                version = self._try_commit(job, schema, files, mode, facts)
            except CommitFailedError:
                time.sleep(0.01 * 2 ** min(attempt, 5))  # another writer was faster
            except (DeltaError, OSError) as error:
                raise StorageError(f"{self._uri} cannot be written: {failure(error)}", path=self._uri) from error
            else:
                self._read_back(version, files)
                return version
        raise StorageError(f"{self._uri}: other writers were faster {_ATTEMPTS} times", path=self._uri)

    def _try_commit(
        self, job: str, schema: pa.Schema, files: Sequence[ScoredFile], mode: OutputMode, facts: Mapping[str, str]
    ) -> int:
        handle = self._find()
        if handle is not None and _lacks_naive_times(handle, schema):
            handle.alter.add_feature(_NAIVE_TIMES, allow_protocol_versions_increase=True)
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

    def _read_back(self, version: int, files: Sequence[ScoredFile]) -> None:
        """Read a commit as the next reader will: its log, the ends of its files, and all rows of the first."""
        names, rows = {file.path for file in files}, sum(file.rows for file in files)
        try:
            dataset = DeltaTable(self._uri, version=version, storage_options=self._options).to_pyarrow_dataset()
            found = [each for each in dataset.get_fragments() if PurePath(each.path).name in names]
            there = sum(each.count_rows() for each in found)
            for each in found[:1]:
                each.to_table(schema=dataset.schema)
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise StorageError(
                f"{self._uri}: version {version} is committed, and cannot be read: {failure(error)}", path=self._uri
            ) from error
        if there != rows:
            raise StorageError(
                f"{self._uri}: version {version} must have {rows} more rows, got {there}", path=self._uri
            )

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


def _lacks_naive_times(handle: DeltaTable, schema: pa.Schema) -> bool:
    """Whether times without a zone, which are a feature of Delta tables, would be the table's first."""
    known = handle.protocol().writer_features or []
    return "timestampNtz" not in known and "timestamp_ntz" in Schema.from_arrow(schema).to_json()


def _application(job: str) -> str:
    return f"raymlops/score/{job}"


def _action(file: ScoredFile) -> AddAction:
    statistics = orjson.dumps({"numRecords": file.rows}).decode()
    return AddAction(file.path, file.size_bytes, {}, time.time_ns() // 1_000_000, True, statistics)
