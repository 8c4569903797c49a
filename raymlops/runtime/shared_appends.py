"""Writers in line share a commit: whoever comes to write takes along what others wait to have written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import pyarrow as pa

__all__ = ["SharedAppends"]

Key = TypeVar("Key", bound=Hashable)

_LARGEST_ROWS = 200_000
"""Rows in one commit beyond which nothing more is taken along: bounds how long the first waits for the last."""


@dataclass(eq=False)
class _Batch(Generic[Key]):
    """One caller's rows, and what became of them."""

    key: Key
    ingest_id: str
    table: pa.Table
    done: bool = False
    error: BaseException | None = None


class SharedAppends(Generic[Key]):
    """Gives each caller's rows to ``write``, as many as wait for the same table at once.

    A call returns when its rows are written, or raises what kept them from it; a lone writer waits for nobody. A write
    that fails fails for all whose rows were in it, none of whom was told otherwise before. Thread-safe.

    Args:
        write: Writes the batches of one table, by their ingest ids in the order they came, and returns what keeps out
            those that it refuses, by their ids. Called by one thread at a time.
    """

    def __init__(self, write: Callable[[Key, Mapping[str, pa.Table]], Mapping[str, BaseException]]) -> None:
        self._write = write
        self._changed = threading.Condition()
        self._busy = False
        self._line: list[_Batch[Key]] = []

    def append(self, key: Key, table: pa.Table, ingest_id: str) -> None:
        """Have rows written, once where others in line bring the same ingest id."""
        own = _Batch(key, ingest_id, table)
        with self._changed:
            self._line.append(own)
            self._changed.wait_for(lambda: own.done or not self._busy)
            group = [] if own.done else self._take(own)
            self._busy = self._busy or bool(group)
        if group:
            self._lead(key, group)
        if own.error is not None:
            raise own.error

    @property
    def waiting(self) -> int:
        """Batches in line that nobody is writing yet."""
        with self._changed:
            return len(self._line)

    def _lead(self, key: Key, group: Sequence[_Batch[Key]]) -> None:
        tables: dict[str, pa.Table] = {}
        for batch in group:
            tables.setdefault(batch.ingest_id, batch.table)
        error: BaseException | None = None
        refused: Mapping[str, BaseException] = {}
        try:
            refused = self._write(key, tables)
        except BaseException as failure:
            error = failure
        with self._changed:
            for batch in group:
                batch.done, batch.error = True, error or refused.get(batch.ingest_id)
            self._busy = False
            self._changed.notify_all()

    def _take(self, own: _Batch[Key]) -> list[_Batch[Key]]:
        """The caller's batch, and those of the same table that there is room for, in the order they came."""
        room = _LARGEST_ROWS - own.table.num_rows
        group: list[_Batch[Key]] = []
        for batch in self._line:
            rows = 0 if batch is own else batch.table.num_rows
            if batch.key == own.key and rows <= room:
                group.append(batch)
                room -= rows
        self._line = [batch for batch in self._line if batch not in group]
        return group
