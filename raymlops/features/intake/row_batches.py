"""Rows of one ingest: checked batch by batch, and kept until all are committed at once."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack, get_args

import numpy as np
import pyarrow as pa

from raymlops.errors import ConfigError, StorageError
from raymlops.features.definitions.fields import DType
from raymlops.features.definitions.schema import FaultTally
from raymlops.features.definitions.views import FeatureView
from raymlops.features.intake.screening import Screened, screen
from raymlops.tables.codes import decoded, plain_schema
from raymlops.tables.columns import INSTANT, Reading, as_table
from raymlops.tables.digests import RowsDigest
from raymlops.tables.texts import guessed_types

__all__ = ["QUARANTINE_SCHEMA", "ExtraColumns", "IngestOptions", "Intake", "OnInvalid", "Spool"]

OnInvalid = Literal["reject", "quarantine"]
"""If rows break a rule, ``reject`` stores nothing; ``quarantine`` puts these rows aside and stores the others."""
ExtraColumns = Literal["refuse", "ignore"]
"""If there are columns that a view does not have, ``refuse`` stores nothing; ``ignore`` leaves the columns out."""


class IngestOptions(Reading, total=False):
    """Options of an ingest."""

    on_invalid: OnInvalid
    extra_columns: ExtraColumns


QUARANTINE_SCHEMA = pa.schema(
    [
        ("view", pa.string()),
        ("ingest_id", pa.string()),
        ("row", pa.int64()),
        ("reasons", pa.string()),
        ("values", pa.string()),
        ("quarantined_at", INSTANT),
    ]
)
"""One row per refused row: its number in the ingest, and as JSON why it was refused and what was given."""

_IN_MEMORY_BYTES = 64 << 20
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_YEARS_1_TO_9999_S = (-62_135_596_800, 253_402_300_800)


class Spool:
    """A spool of tables of one schema: in memory while they are small, then in a file.

    Codes are kept as they come, and read as the texts that they stand for. Not thread-safe.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._empty: Any = None
        self._tables: list[Any] = []
        self._bytes = 0
        self._writer: Any = None
        self._schema: Any = None
        self.num_rows = 0

    @property
    def schema(self) -> Any:
        """Of the first table that has rows, else of the first."""
        return plain_schema(self._empty.schema if self._schema is None else self._schema)

    def add(self, table: Any) -> None:
        """Append a table.

        Raises:
            StorageError: the file cannot be written.
        """
        if not table.num_rows:
            self._empty = table if self._empty is None else self._empty
            return
        self._schema = table.schema if self._schema is None else self._schema
        self.num_rows += table.num_rows
        self._bytes += table.nbytes
        self._tables.append(table)
        if self._bytes > _IN_MEMORY_BYTES or self._writer is not None:
            with _on_disk(self._path):
                if self._writer is None:
                    self._writer = pa.ipc.new_file(str(self._path), self.schema)
                for held in self._tables:
                    for batch in decoded(held):
                        self._writer.write_batch(batch)
            self._tables.clear()

    def finish(self) -> None:
        """End writing; from now on the rows can be read."""
        if self._writer is not None:
            with _on_disk(self._path):
                self._writer.close()

    def batches(self) -> Iterator[Any]:
        """All rows, as record batches in their order."""
        for table in self._tables:
            yield from decoded(table)
        if self._writer is not None:
            with pa.memory_map(str(self._path)) as file:
                reader = pa.ipc.open_file(file)
                for number in range(reader.num_record_batches):
                    yield reader.get_batch(number)

    def table(self) -> Any | None:
        """All rows, if they are in memory."""
        if self._writer is not None:
            return None
        return pa.Table.from_batches((batch for held in self._tables for batch in decoded(held)), self.schema)


class Intake:
    """Checks the rows of one ingest; a context manager, at whose end its files are gone.

    Args:
        view: The view; it has its own table.
        ingest_id: Id of the ingest.
        on_invalid: What becomes of rows that break a rule.
        at: Now.
        directory: Where what does not fit in memory is kept meanwhile.
        extra_columns: What becomes of columns that the view does not have.
        reading: How times are read that have no zone, or are finer than microseconds.

    Raises:
        ConfigError: an option is none of those there are.
    """

    def __init__(
        self,
        view: FeatureView,
        *,
        ingest_id: str,
        at: datetime,
        directory: Path,
        on_invalid: OnInvalid = "reject",
        extra_columns: ExtraColumns = "refuse",
        **reading: Unpack[Reading],
    ) -> None:
        _check_choice("on_invalid", on_invalid, get_args(OnInvalid))
        _check_choice("extra_columns", extra_columns, get_args(ExtraColumns))
        self._view = view
        self._owner = f"view {view.name!r}"
        self._on_invalid = on_invalid
        self._ingest_id = ingest_id
        self._at = at
        self._extra_columns = extra_columns
        self._reading = reading
        self._directory = directory
        self._tally = FaultTally()
        self._digest, self._bad_digest = RowsDigest(), RowsDigest()
        self._given = 0
        self._rejected = 0

    def __enter__(self) -> Self:
        with _on_disk(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
            self._scratch = Path(tempfile.mkdtemp(prefix="intake-", dir=self._directory))
        self.good, self.bad = Spool(self._scratch / "good.arrow"), Spool(self._scratch / "bad.arrow")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)

    def take(self, tables: Iterable[Any], *, text: bool = False, key_dtypes: Mapping[str, DType] | None = None) -> None:
        """Check all rows.

        Args:
            tables: The rows; at least one table, if only an empty one. Gone through twice where types are guessed.
            text: Whether values are texts to be read as the declared types.
            key_dtypes: Of texts: types of keys that are no fields, where they are known. Else all tables tell: integers
                where every key prints back as the same text.

        Raises:
            SchemaMismatch: columns or types are not the declared ones.
            DataError: a row breaks a rule and is to be rejected; the message and ``context["problems"]`` tell all
                rules, how many rows break them, and the first.
        """
        if text and key_dtypes is None:
            key_dtypes = self._guessed(tables)
        time_zone = self._reading.get("time_zone")
        for given in tables:
            table = self._wanted(given)
            screened = screen(
                self._view, table, created_at=self._at, text=text, key_dtypes=key_dtypes, time_zone=time_zone
            )
            self._tally.add(screened.faults, self._given, table)
            good = screened.good
            self._digest.update(self._as_given(good, table))
            self.good.add(good)
            self._rejected += int(screened.broken.sum())
            if screened.faults and self._on_invalid == "quarantine":
                refused = self._refused(table, screened)
                self.bad.add(refused)
                self._bad_digest.update(refused.select(["values"]))
            self._given += table.num_rows
        if self._on_invalid == "reject":
            self._tally.raise_if_any(self._owner, view=self._view.name, rows=self._given, rejected=self._rejected)
        self.good.finish()
        self.bad.finish()

    @property
    def digest(self) -> int:
        """Tells these rows from others, whenever and however they come again: what was stamped on them is left out."""
        return self._digest.short() ^ (self._bad_digest.short() if self.bad.num_rows else 0)

    def _wanted(self, given: Any) -> Any:
        """The columns that are asked for, their times read."""
        if self._extra_columns == "ignore":
            wanted = set(self._view.table_columns)
            given = given.select([place for place, name in enumerate(given.column_names) if name in wanted])
        return as_table(self._owner, given, **self._reading)

    def _guessed(self, tables: Iterable[Any]) -> dict[str, DType]:
        keys = set(self._view.keys) - {field.name for field in self._view.fields}
        found = guessed_types(tables, keys.__contains__, integers_only=True) if keys else {}
        return {name: "int64" if pa.types.is_integer(dtype) else "string" for name, dtype in found.items()}

    def _as_given(self, good: Any, given: Any) -> Any:
        stamped = self._view.created_at
        return good if stamped is None or stamped in given.column_names else good.drop_columns([stamped])

    def _refused(self, given: Any, screened: Screened) -> Any:
        rows: list[int] = np.flatnonzero(screened.broken).tolist()
        columns = [_plain(column) for column in given.take(pa.array(rows)).columns]
        values = [dict(zip(given.column_names, row, strict=True)) for row in zip(*columns, strict=True)]
        plain = {
            "view": [self._view.ref] * len(rows),
            "ingest_id": [self._ingest_id] * len(rows),
            "row": [row + self._given for row in rows],
            "reasons": [json.dumps(screened.reasons(row), ensure_ascii=False) for row in rows],
            "values": [json.dumps(value, default=str, ensure_ascii=False) for value in values],
            "quarantined_at": [self._at] * len(rows),
        }
        return pa.table(plain, schema=QUARANTINE_SCHEMA)


def _check_choice(option: str, given: object, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ConfigError(f"{option} must be one of {known}, got {given!r}")


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"rows to be ingested: cannot write {path}: {error}", path=str(path)) from error


def _plain(column: Any) -> list[Any]:
    """Values as JSON has them: instants, numbers it has no name for, and what Python cannot hold as texts."""
    if pa.types.is_timestamp(column.type):
        texts, numbers = column.cast(pa.string()).to_pylist(), column.cast(pa.int64()).to_pylist()
        low, high = (_PER_SECOND[column.type.unit] * bound_s for bound_s in _YEARS_1_TO_9999_S)
        return [
            text if number is None or low <= number < high else f"{number} {column.type.unit} since 1970"
            for text, number in zip(texts, numbers, strict=True)
        ]
    values = column.to_pylist()
    return [str(value) if isinstance(value, float) and not math.isfinite(value) else value for value in values]
