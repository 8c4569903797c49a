"""The online store of a node: one memory-mapped LMDB file, one writing process, lock-free readers in all others."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb

from raymlops.errors import StorageError
from raymlops.features.online import ViewUpdate, Watermark, address

__all__ = ["LmdbOnlineStore"]

_WATERMARK = struct.Struct("<qq")
_WATERMARK_PREFIX = (
    b"\x00watermark\x00"  # sorts before, and differs from, every address: a view's name starts with a letter
)
_MAX_READERS = 1024


@dataclass
class _SharedFile:
    """The one environment that a process may have open per file, and how many stores use it."""

    environment: Any
    writable: bool
    users: int


class _Snapshot:
    __slots__ = ("_transaction",)

    def __init__(self, transaction: Any) -> None:
        self._transaction = transaction

    def __enter__(self) -> _Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transaction.abort()

    def get_many(self, addresses: Sequence[bytes]) -> list[memoryview | None]:
        try:
            return list(map(self._transaction.get, addresses))
        except lmdb.Error as error:
            raise StorageError(f"online store: cannot read: {error}") from error


class LmdbOnlineStore:
    """Runs in one LMDB file, found again by every process of the node.

    Several stores of one process on the same file share it: LMDB forbids a process to open a file twice.

    Args:
        path: Directory of the file.
        writable: Whether ``commit`` may be called; creates the file. One process at a time.
        map_bytes: Largest size of the file. Address space, not memory or disk.

    Raises:
        StorageError: the file cannot be opened, or does not exist and ``writable`` is false.
    """

    _open_files: dict[Path, _SharedFile] = {}  # noqa: RUF012 - shared by all stores of the process on purpose
    _open_lock = threading.Lock()

    def __init__(self, path: Path, *, writable: bool = False, map_bytes: int = 1 << 36) -> None:
        self._path = path.resolve()
        self._map_bytes = map_bytes
        with self._open_lock, self._named("open"):
            self._file = self._acquire(writable)
        self._closed = False

    def _acquire(self, writable: bool) -> _SharedFile:
        shared = self._open_files.get(self._path)
        if shared is None:
            shared = _SharedFile(self._open(writable), writable, 0)
            self._open_files[self._path] = shared
        elif writable and not shared.writable:
            shared.environment.close()
            shared.environment, shared.writable = self._open(writable), True
        shared.users += 1
        return shared

    def _open(self, writable: bool) -> Any:
        path, size = str(self._path), self._map_bytes
        if not writable:
            return lmdb.open(
                path, readonly=True, create=False, map_size=size, max_readers=_MAX_READERS, readahead=False
            )
        self._path.mkdir(parents=True, exist_ok=True)
        environment = lmdb.open(path, metasync=False, map_size=size, max_readers=_MAX_READERS, readahead=False)
        environment.reader_check()  # frees the slots of readers that were killed
        return environment

    @contextmanager
    def _named(self, action: str) -> Iterator[None]:
        try:
            yield
        except (lmdb.Error, OSError) as error:
            raise StorageError(f"online store {self._path}: cannot {action}: {error}", path=str(self._path)) from error

    def _read(self) -> Any:
        environment = self._file.environment
        try:
            return environment.begin(buffers=True)
        except lmdb.Error as error:
            # A writer in this process replaced the environment between the two lines above.
            if environment is not self._file.environment and not self._closed:
                return self._read()
            raise StorageError(f"online store {self._path}: cannot read: {error}", path=str(self._path)) from error

    def snapshot(self) -> _Snapshot:
        return _Snapshot(self._read())

    def watermark(self, view: str) -> Watermark | None:
        with self._read() as transaction:
            record = transaction.get(_WATERMARK_PREFIX + view.encode())
            return None if record is None else Watermark(*_WATERMARK.unpack(record))

    def commit(self, updates: Sequence[ViewUpdate]) -> None:
        with self._named("write"), self._file.environment.begin(write=True) as transaction:
            for update in updates:
                for key in sorted(update.runs):
                    transaction.put(address(update.view, key), update.runs[key])
                record = _WATERMARK.pack(update.watermark.table_version, update.watermark.sequence)
                transaction.put(_WATERMARK_PREFIX + update.view.encode(), record)

    def close(self) -> None:
        with self._open_lock:
            if self._closed:
                return
            self._closed = True
            self._file.users -= 1
            if not self._file.users:
                self._file.environment.close()
                del self._open_files[self._path]
