"""Where the tasks of a bucketed join run: the port, and an implementation in this process that keeps to the disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import pyarrow as pa

from raymlops.errors import StorageError

__all__ = ["DiskTasks", "Handle", "TaskPool"]

Handle = Any
"""Stands for a table that a pool holds; passed to a task of the pool, it is replaced by the table."""


class TaskPool(Protocol):
    """Runs functions for one join, and holds the tables that pass between them. A context manager, used once.

    A function must be importable by name and its arguments picklable, for it may run in another process or on another
    node; it may be run more than once and must give the same each time. However the context ends, nothing is left: no
    task runs on, no table is held. Not thread-safe.
    """

    def __enter__(self) -> Self: ...

    def __exit__(self, *failure: object) -> None: ...

    def put(self, table: Any) -> Handle:
        """Hold a table for the tasks.

        Raises:
            StorageError: there is no room for it.
        """

    def scatter(
        self, function: Callable[..., Sequence[Any]], calls: Iterable[Sequence[Any]], parts: int
    ) -> list[list[Handle]]:
        """Run a function once per call and hold the tables that it returns.

        Args:
            function: Returns ``parts`` tables.
            calls: Its arguments.
            parts: How many tables each call returns.

        Returns:
            Handles of the tables, in the order of the calls.

        Raises:
            RaymlopsError: as the function does.
            StorageError: there is no room for a table.
            UnavailableError: a process died again and again, or the deadline has passed.
        """

    def gather(self, function: Callable[..., Any], calls: Iterable[Sequence[Any]]) -> Iterator[tuple[int, Any]]:
        """Run a function once per call and yield what it returns as the calls end, in any order.

        Returns:
            Pairs of a call's place and what the function returned.

        Raises:
            RaymlopsError: as ``scatter``.
        """


class DiskTasks:
    """Runs everything in this process, one call after the other; tables are files, mapped into memory.

    Args:
        directory: Where a scratch directory is made; ``None``: where temporary files go.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._written = 0

    def __enter__(self) -> Self:
        self._scratch = tempfile.TemporaryDirectory(prefix="join-", dir=self._directory)
        return self

    def __exit__(self, *failure: object) -> None:
        self._scratch.cleanup()

    def put(self, table: Any) -> Path:
        path = Path(self._scratch.name) / f"{self._written}.arrow"
        self._written += 1
        try:
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
        except OSError as error:
            raise StorageError(f"join: cannot write {path}: {error}", path=str(path)) from error
        return path

    def scatter(
        self, function: Callable[..., Sequence[Any]], calls: Iterable[Sequence[Any]], parts: int
    ) -> list[list[Handle]]:
        held = []
        for call in calls:
            tables = function(*map(_opened, call))
            assert len(tables) == parts
            held.append([self.put(table) for table in tables])
        return held

    def gather(self, function: Callable[..., Any], calls: Iterable[Sequence[Any]]) -> Iterator[tuple[int, Any]]:
        for place, call in enumerate(calls):
            yield place, function(*map(_opened, call))


def _opened(argument: Any) -> Any:
    if not isinstance(argument, Path):
        return argument
    with pa.memory_map(str(argument)) as file:
        return pa.ipc.open_file(file).read_all()
