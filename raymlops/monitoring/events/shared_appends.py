"""Group commit of appends: the writer whose turn it is writes the rows of all waiting callers in one commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pyarrow as pa

from raymlops.errors import ConflictError
from raymlops.tables.digests import check_repeat

__all__ = ["Batch", "SharedAppends"]

Key = TypeVar("Key", bound=Hashable)

_LARGEST_ROWS = 200_000
"""Rows in one commit beyond which nothing more is taken along: bounds how long the first waits for the last."""


@dataclass(eq=False)
class Batch(Generic[Key]):
    """One caller's rows, and the outcome of their write."""

    key: Key
    ingest_id: str
    table: pa.Table
    digest: int = 0
    """Tells the rows of an id from others."""
    done: bool = False
    error: BaseException | None = None


class SharedAppends(Generic[Key]):
    """Gives each caller's rows to ``write``, as many as wait for the same table at once.

    A call returns when its rows are written, or raises the write's error; a lone writer does not wait. A write
    that fails raises its error for all callers whose rows were in it. Thread-safe.

    Args:
        write: Writes the batches of one table, by their ingest ids in the order they came, and returns those that it
            refuses, each with its error; the others are written. Called by one thread at a time.
    """

    def __init__(self, write: Callable[[Key, Mapping[str, Batch[Any]]], Mapping[str, Exception]]) -> None:
        self._write = write
        self._changed = threading.Condition()
        self._busy = False
        self._line: list[Batch[Key]] = []

    def append(self, key: Key, table: pa.Table, ingest_id: str, digest: int = 0) -> None:
        """Have rows written, once where others in line bring the same ingest id.

        Raises:
            ConflictError: Others bring the same id with other rows.
        """
        own = Batch(key, ingest_id, table, digest)
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
        """Waiting batches that are not being written yet."""
        with self._changed:
            return len(self._line)

    def _lead(self, key: Key, group: Sequence[Batch[Key]]) -> None:
        first: dict[str, Batch[Key]] = {}
        for batch in group:
            first.setdefault(batch.ingest_id, batch)
        error: BaseException | None = None
        refused: Mapping[str, Exception] = {}
        try:
            refused = self._write(key, first)
        except BaseException as failure:
            error = failure
        with self._changed:
            for batch in group:
                batch.error = error or refused.get(batch.ingest_id) or _conflict(batch, first[batch.ingest_id])
                batch.done = True
            self._busy = False
            self._changed.notify_all()

    def _take(self, own: Batch[Key]) -> list[Batch[Key]]:
        """The caller's batch, and those of the same table that there is room for, in the order they came."""
        room = _LARGEST_ROWS - own.table.num_rows
        group: list[Batch[Key]] = []
        for batch in self._line:
            rows = 0 if batch is own else batch.table.num_rows
            if batch.key == own.key and rows <= room:
                group.append(batch)
                room -= rows
        self._line = [batch for batch in self._line if batch not in group]
        return group


def _conflict(batch: Batch[Any], first: Batch[Any]) -> ConflictError | None:
    """Whether two callers in line bring one id with different rows: the first one's are written."""
    try:
        check_repeat(str(batch.key), batch.ingest_id, first.digest, batch.digest)
    except ConflictError as error:
        return error
    return None
