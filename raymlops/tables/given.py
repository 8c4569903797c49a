"""The guard of doors that take a table from a caller."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from raymlops.errors import SchemaMismatch

__all__ = ["table_given"]


def table_given(owner: str, given: object) -> Any:
    """A table whose columns have names of their own; a record batch is one of a single chunk.

    Args:
        owner: What it is to the door, such as ``example``; begins the message.
        given: Whatever was handed in.

    Raises:
        SchemaMismatch: It is no Arrow table, or two of its columns share a name.
    """
    if isinstance(given, pa.RecordBatch):
        given = pa.Table.from_batches([given])
    if not isinstance(given, pa.Table):
        raise SchemaMismatch(f"{owner} must be a pyarrow.Table, got {type(given).__name__}", got=type(given).__name__)
    names: list[str] = given.column_names
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise SchemaMismatch(f"{owner} must name each column once, got {twice} more than once", columns=twice)
    return given
