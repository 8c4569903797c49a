"""Sequence numbers of rows to be appended, in the order they arrive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from raymlops.tables.columns import SEQUENCE

__all__ = ["Batches", "numbered_stream", "numbered_table"]


class Batches(Protocol):
    """Rows that need not fit in memory and can be read several times, once per attempt to append them."""

    @property
    def schema(self) -> Any:
        """Their Arrow schema."""
        ...

    @property
    def num_rows(self) -> int:
        """How many there are."""
        ...

    def batches(self) -> Iterator[Any]:
        """All of them, as record batches in their order."""
        ...


def numbered_table(rows: Any, columns: Sequence[str], first: int) -> Any:
    """A table with its columns in order and ``_seq``, from ``first`` on."""
    return rows.select(columns).append_column(SEQUENCE, pa.array(np.arange(first, first + rows.num_rows)))


def numbered_stream(rows: Batches, columns: Sequence[str], first: int) -> Any:
    """The same of rows that are read a batch at a time."""
    schema = pa.schema([*(rows.schema.field(name) for name in columns), pa.field(SEQUENCE, pa.int64())])

    def stream() -> Iterator[Any]:
        following = first
        for batch in rows.batches():
            numbers = pa.array(np.arange(following, following + batch.num_rows))
            following += batch.num_rows
            yield pa.RecordBatch.from_arrays([*(batch.column(name) for name in columns), numbers], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, stream())
