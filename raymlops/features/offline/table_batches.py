"""Reading of Delta tables that need not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from raymlops.tables.delta import DeltaTables

__all__ = ["read_batches"]

_CELLS = 1 << 24


def read_batches(
    tables: DeltaTables, name: str, columns: Sequence[str], version: int | None = None, *, cells: int = _CELLS
) -> Iterator[pa.Table]:
    """Read all rows in the order they arrived, as tables of a bounded size; at least one, which may be empty.

    Args:
        tables: The tables.
        name: Name of the table.
        columns: The columns wanted.
        version: A version of it; ``None``: the newest, as it is when the first rows are asked for.
        cells: Most values, rows times columns, of one table that is given.

    Raises:
        RaymlopsError: as ``DeltaTables.read`` does, while rows are read.
    """
    version = tables.version(name) if version is None else version
    last = tables.last_sequence(name)  # of the newest version, so that none of this one is left out
    rows = max(1, cells // max(1, len(columns)))
    for before in range(-1, max(last, 0), rows):
        until = min(before + rows, max(last, 0))
        yield tables.read(name, version, columns, after_sequence=before, until_sequence=until)
