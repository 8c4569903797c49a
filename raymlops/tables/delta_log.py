"""Reads of a Delta table in batches, and facts about it from its log alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from raymlops.clock import from_us, to_us
from raymlops.tables.delta import DeltaTables

__all__ = ["TableFacts", "read_batches", "table_facts", "table_rows"]

_BATCH_ROWS = 1 << 17
_COMMITS_LOOKED_AT = 256
_COMPACTION = "OPTIMIZE"


@dataclass(frozen=True)
class TableFacts:
    """Facts about a table's newest version, from its log."""

    version: int
    rows: int
    newest: dict[str, datetime | None]
    """Column of instants -> its newest value, to the millisecond; ``None`` where there is none."""
    ingested_at: datetime | None
    """When the newest rows were committed."""


def read_batches(tables: DeltaTables, name: str, version: int | None, columns: Sequence[str]) -> Iterator[Any]:
    """Rows in no particular order, a batch at a time; what is held of a table does not grow with it.

    Args:
        tables: The tables.
        name: Name of the table.
        version: A version of it; ``None``: the newest.
        columns: The columns wanted.

    Raises:
        NotFoundError: there is no such table, or no such version of it.
        StorageError: it cannot be read.
    """
    with tables.opened(name, version) as handle:
        yield from _batches(handle, columns)


def _batches(handle: Any, columns: Sequence[str], condition: Any = None) -> Iterator[Any]:
    dataset = handle.to_pyarrow_dataset()
    yield from dataset.to_batches(
        columns=list(columns), filter=condition, batch_size=_BATCH_ROWS, batch_readahead=2, fragment_readahead=1
    )


def table_facts(tables: DeltaTables, name: str, instants: Sequence[str]) -> TableFacts:
    """Facts about the newest version of a table, read from its log; from the files only where the log lacks them.

    Args:
        tables: The tables.
        name: Name of the table.
        instants: Columns whose newest value is wanted.

    Raises:
        NotFoundError: there is no such table.
        StorageError: it cannot be read.
    """
    with tables.opened(name) as handle:
        files = pa.table(handle.get_add_actions(flatten=True))
        newest = {column: _newest(handle, files, column) for column in instants}
        commits = handle.history(_COMMITS_LOOKED_AT)
        return TableFacts(int(handle.version()), _rows_of(files), newest, _newest_write(commits))


def table_rows(tables: DeltaTables, name: str, version: int | None = None) -> tuple[int, int]:
    """A version of a table, the newest by default, and its number of rows; by the log alone.

    Raises:
        NotFoundError: there is no such table, or no such version of it.
        StorageError: it cannot be read.
    """
    with tables.opened(name, version) as handle:
        files = pa.table(handle.get_add_actions(flatten=True))
        return int(handle.version()), _rows_of(files)


def _rows_of(files: Any) -> int:
    return int(pc.sum(files["num_records"]).as_py() or 0) if files.num_rows else 0


def _newest(handle: Any, files: Any, column: str) -> datetime | None:
    """The newest value of a column; the log keeps figures of the first columns of a table only."""
    name = f"max.{column}"
    if name in files.column_names:
        unknown = pc.and_(pc.is_null(files[name]), pc.less(files[f"null_count.{column}"], files["num_records"]))
        if not pc.any(unknown).as_py():
            return _instant(pc.max(files[name]).as_py())
    newest = [pc.max(batch.column(column)).as_py() for batch in _batches(handle, [column], ds.field(column).is_valid())]
    return max((value for value in newest if value is not None), default=None)


def _instant(value: datetime | None) -> datetime | None:
    return None if value is None else from_us(to_us(value))


def _newest_write(commits: Sequence[dict[str, Any]]) -> datetime | None:
    """Instant of the newest commit that is no compaction, among the newest ones."""
    for commit in commits:
        if not str(commit.get("operation", "")).startswith((_COMPACTION, "VACUUM")):
            return from_us(int(commit["timestamp"]) * 1000)
    return None
