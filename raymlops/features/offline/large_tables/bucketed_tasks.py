"""The port to whatever runs the tasks of a bucketed join."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, Self

__all__ = ["Handle", "TaskPool"]

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
