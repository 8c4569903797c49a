"""The online store of a node: one memory-mapped LMDB file, one writing process, lock-free readers in all others."""

from __future__ import annotations

import shutil
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
from raymlops.features.online.online_store import ViewUpdate, Watermark, address
from raymlops.features.online.runs import MAGIC

__all__ = ["LmdbOnlineStore", "file_identity"]

_WATERMARK = struct.Struct("<qq")
_WATERMARK_PREFIX = (
    b"\x00watermark\x00"  # sorts before, and differs from, every address: a view's name starts with a letter
)
_LAYOUT = b"\x00layout"
"""Key of the layout of the runs; after the layout, its value lists the views that are still to be rebuilt in it."""
_MAGIC = struct.pack("<I", MAGIC)
_REBUILT_FROM_THE_START = _WATERMARK.pack(-1, -1)
_MAX_READERS = 1024
_READING: dict[str, Any] = {
    "readonly": True,
    "create": False,
    "map_size": 1 << 40,  # address space: whatever the writer's limit is, or becomes
}


@dataclass
class _SharedFile:
    """The one environment that a process may have open per file, and how many stores use it."""

    environment: Any
    writable: bool
    users: int
    identity: tuple[int, int] | None
    """Device and inode: another file may come to the same path."""


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

    A file of another layout of runs is emptied when it is opened for writing. Its views keep their watermarks, set to
    before the first row, so that materialising them rebuilds them; until the last of them is complete, nobody can open
    the file for reading.

    Args:
        path: Directory of the file.
        writable: Whether ``commit`` may be called; creates the file. One process at a time.
        map_bytes: Size up to which the writer lets the file grow.

    Raises:
        StorageError: the file cannot be opened, or ``writable`` is false and it does not exist or is not rebuilt.
    """

    _open_files: dict[Path, _SharedFile] = {}  # noqa: RUF012 - shared by all stores of the process on purpose
    _open_lock = threading.Lock()

    remote = False

    def __init__(self, path: Path, *, writable: bool = False, map_bytes: int = 4 << 30) -> None:
        self._path = path.resolve()
        self._map_bytes = map_bytes
        with self._open_lock, self._named("open"):
            self._file = self._acquire(writable)
        self._closed = False

    def _acquire(self, writable: bool) -> _SharedFile:
        shared = self._open_files.get(self._path)
        if shared is None or shared.identity != file_identity(self._path):
            shared = _SharedFile(self._open(writable), writable, 0, file_identity(self._path))
            self._open_files[self._path] = shared
        elif writable and not shared.writable:
            shared.environment.close()
            shared.environment, shared.writable = self._open(writable), True
        elif not writable:
            self._check_layout(shared.environment)
        shared.users += 1
        return shared

    def _open(self, writable: bool) -> Any:
        path = str(self._path)
        if writable:
            self._path.mkdir(parents=True, exist_ok=True)
        options = {"metasync": False, "map_size": self._map_bytes} if writable else _READING
        environment = lmdb.open(path, max_readers=_MAX_READERS, readahead=False, **options)
        try:
            if writable:
                environment.reader_check()  # frees the slots of readers that were killed
                _prepare(environment)
            else:
                self._check_layout(environment)
        except BaseException:
            environment.close()
            raise
        return environment

    def _check_layout(self, environment: Any) -> None:
        with environment.begin() as transaction:
            record = transaction.get(_LAYOUT)
            started = record is not None or transaction.stat()["entries"] > 0
        if started and (record is None or record[: len(_MAGIC)] != _MAGIC):
            reason = "is of another layout: the writing process rebuilds it when it starts"
            raise StorageError(f"online store {self._path}: {reason}", path=str(self._path))
        views = _unfinished(record)
        if views:
            reason = f"is being rebuilt from the tables: {sorted(views)} are not complete yet"
            raise StorageError(f"online store {self._path}: {reason}", path=str(self._path), views=sorted(views))

    @contextmanager
    def _named(self, action: str) -> Iterator[None]:
        try:
            yield
        except lmdb.MapFullError as error:
            reason = f"is full at {self._map_bytes} bytes: raise features.online_bytes"
            raise StorageError(f"online store {self._path}: {reason}", path=str(self._path)) from error
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
                _put_runs(transaction, update)
                record = _WATERMARK.pack(update.watermark.table_version, update.watermark.sequence)
                transaction.put(_WATERMARK_PREFIX + update.view.encode(), record)
            views = _unfinished(transaction.get(_LAYOUT))
            if views:
                complete = {update.view for update in updates if update.watermark.table_version >= 0}
                transaction.put(_LAYOUT, _layout_record(views - complete))

    def remove(self) -> None:
        self.close()
        try:
            shutil.rmtree(self._path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"online store {self._path}: cannot remove: {error}", path=str(self._path)) from error

    def close(self) -> None:
        with self._open_lock:
            if self._closed:
                return
            self._closed = True
            self._file.users -= 1
            if not self._file.users:
                self._file.environment.close()
                if self._open_files.get(self._path) is self._file:
                    del self._open_files[self._path]


def file_identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file in a store's directory; as long as a file is open, no other one has them."""
    try:
        found = (path / "data.mdb").stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _prepare(environment: Any) -> None:
    """Empty a file of another layout, in one transaction."""
    with environment.begin(write=True) as transaction:
        record = transaction.get(_LAYOUT)
        if record is not None and record[: len(_MAGIC)] == _MAGIC:
            return
        views = _materialised(transaction)
        transaction.drop(environment.open_db(txn=transaction), delete=False)
        for view in views:
            transaction.put(_WATERMARK_PREFIX + view.encode(), _REBUILT_FROM_THE_START)
        transaction.put(_LAYOUT, _layout_record(views))


def _materialised(transaction: Any) -> set[str]:
    """The views that have a watermark."""
    views = set()
    with transaction.cursor() as cursor:
        found = cursor.set_range(_WATERMARK_PREFIX)
        while found and cursor.key().startswith(_WATERMARK_PREFIX):
            views.add(cursor.key()[len(_WATERMARK_PREFIX) :].decode())
            found = cursor.next()
    return views


def _layout_record(unfinished: set[str]) -> bytes:
    return _MAGIC + "\n".join(sorted(unfinished)).encode()


def _unfinished(record: bytes | None) -> set[str]:
    return set((record or _MAGIC)[len(_MAGIC) :].decode().split("\n")) - {""}


def _put_runs(transaction: Any, update: ViewUpdate) -> None:
    if not update.runs:
        return
    prefix = address(update.view, b"")
    keys = sorted(update.runs)
    with transaction.cursor() as cursor:
        # What lies behind all that is there fills its pages, and needs no search for its place.
        behind = not cursor.last() or cursor.key() < prefix + keys[0]
        items = zip(map(prefix.__add__, keys), map(update.runs.__getitem__, keys), strict=True)
        cursor.putmulti(items, append=behind)
