"""Staged blocks of rows: handed over one by one, ingested together."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from raymlops.errors import ConfigError, DataError, StorageError

__all__ = ["StagedTables", "Staging"]

_NAME = re.compile(r"[0-9a-f]{32}")


class Staging:
    """Numbered blocks on this node's disk. Thread-safe; a block is there or not, and may be put again.

    Args:
        directory: Where they are.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, name: str, number: int, table: Any) -> None:
        """Keep a block.

        Args:
            name: 32 hexadecimal digits, the same for all blocks that belong together.
            number: From 0.
            table: The rows.

        Raises:
            StorageError: it was not kept.
        """
        path = self._path(name) / f"{number:08}.arrow"
        temporary = path.with_suffix(".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
                writer.write_table(table)
            temporary.replace(path)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"block {path}: cannot write: {error}", path=str(path)) from error

    def tables(self, name: str, blocks: int) -> StagedTables:
        """All blocks, by number; reading them raises what ``StagedTables`` says."""
        return StagedTables(self._path(name), blocks)

    def discard(self, name: str) -> None:
        """Remove the staged blocks of an ingest; does nothing if there are none."""
        shutil.rmtree(self._path(name), ignore_errors=True)

    def sweep(self, age: timedelta) -> None:
        """Remove staged blocks that were last written longer ago than a limit."""
        limit = time.time() - age.total_seconds()
        for path in self._directory.glob("*"):
            with contextlib.suppress(FileNotFoundError):  # whoever put it there took it away just now
                if path.stat().st_mtime < limit:
                    shutil.rmtree(path, ignore_errors=True)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"blocks must be named by 32 hexadecimal digits, got {name!r}")
        return self._directory / name


@dataclass(frozen=True)
class StagedTables:
    """Blocks that were handed over, by number; they may be read more than once.

    Raises:
        DataError: while they are read: a block is missing.
        StorageError: while they are read: a block cannot be read.
    """

    directory: Path
    blocks: int

    def __iter__(self) -> Iterator[Any]:
        for number in range(self.blocks):
            path = self.directory / f"{number:08}.arrow"
            try:
                with pa.memory_map(str(path)) as file:
                    yield pa.ipc.open_stream(file).read_all()
            except FileNotFoundError as error:
                raise DataError(f"block {number} of {self.blocks} was not handed over", path=str(path)) from error
            except (OSError, pa.ArrowException) as error:
                raise StorageError(f"block {path}: cannot read: {error}", path=str(path)) from error
