"""Tasks of a bucketed join in this process, with their tables on the disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from raymlops.errors import StorageError
from raymlops.features.offline.large_tables.bucketed_tasks import Handle

__all__ = ["DiskTasks"]


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
