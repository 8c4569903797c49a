"""Tables as blocks, each read by one task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from raymlops.errors import StorageError
from raymlops.features.definitions.schema import check_columns
from raymlops.records.shown import shown
from raymlops.tables.columns import SEQUENCE

__all__ = ["BLOCK_ROWS", "Block", "BlockedTable", "FileBlock", "TableBlock", "blocks_of"]

BLOCK_ROWS = 2_000_000
"""A block has no more rows than that, but for a row group that has."""

_BATCH_ROWS = 1 << 19


class Block(Protocol):
    """Some rows of a table, read where they are needed. Picklable."""

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """The rows as tables of a bounded number of rows; at least one, which may be empty.

        Raises:
            StorageError: they cannot be read.
        """


@dataclass(frozen=True)
class TableBlock:
    """Rows in memory."""

    table: Any

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        yield self.table.select(columns)


@dataclass(frozen=True)
class FileBlock:
    """Row groups of some of a table's files.

    Args:
        name: Name of the table.
        fragments: The row groups; they know their storage.
        schema: Schema of the table; a column that a file lacks is null.
    """

    name: str
    fragments: Sequence[Any]
    schema: Any = field(repr=False)

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        yield self.schema.empty_table().select(columns)
        for fragment in self.fragments:
            try:
                for batch in fragment.to_batches(schema=self.schema, columns=list(columns), batch_size=_BATCH_ROWS):
                    yield pa.table(batch)
            except (DeltaError, OSError, pa.ArrowException) as error:
                reason = f"table {self.name!r}: cannot read {fragment.path}: {error}"
                raise StorageError(reason, table=self.name, path=fragment.path) from error


@shown()
@dataclass(frozen=True)
class BlockedTable:
    """One version of a table.

    Args:
        schema: Its columns.
        blocks: Its rows.
        rows: How many they are.
    """

    schema: Any
    blocks: Sequence[Block]
    rows: int


def blocks_of(name: str, handle: DeltaTable, columns: Sequence[str]) -> BlockedTable:
    """Cut the files of a Delta table into blocks, oldest rows first; no row is read.

    Args:
        name: Name of the table, for errors.
        handle: The version of the table.
        columns: Columns that it must have.

    Raises:
        SchemaMismatch: a column is missing.
    """
    dataset = handle.to_pyarrow_dataset()
    check_columns(f"table {name!r}", dataset.schema.names, columns)
    actions = pa.table(handle.get_add_actions(flatten=True))
    known = dict(zip(actions["path"].to_pylist(), actions["num_records"].to_pylist(), strict=True))
    first = f"min.{SEQUENCE}"
    if first in actions.column_names:
        arrived = dict(zip(actions["path"].to_pylist(), actions[first].to_pylist(), strict=True))
        known = {path: known[path] for path in sorted(known, key=lambda path: (arrived[path] is None, arrived[path]))}
    blocks: list[Block] = []
    total, held = 0, 0
    fragments: list[Any] = []
    for fragment, rows in _pieces(dataset, known):
        if fragments and held + rows > BLOCK_ROWS:
            blocks.append(FileBlock(name, tuple(fragments), dataset.schema))
            fragments, held = [], 0
        fragments.append(fragment)
        held += rows
        total += rows
    if fragments:
        blocks.append(FileBlock(name, tuple(fragments), dataset.schema))
    return BlockedTable(dataset.schema, blocks, total)


def _pieces(dataset: Any, known: dict[str, int | None]) -> Iterator[tuple[Any, int]]:
    """Files and their rows, in the order of ``known``; of large files, their row groups."""
    place = {path: number for number, path in enumerate(known)}
    for fragment in sorted(dataset.get_fragments(), key=lambda fragment: place.get(fragment.path, len(place))):
        rows = known.get(fragment.path)
        if rows is None:
            rows = fragment.count_rows()
        if rows <= BLOCK_ROWS:
            yield fragment, rows
        else:
            for group in fragment.split_by_row_group():
                yield group, group.row_groups[0].num_rows
