"""Directories of one process alone, which go with it, also where it is killed; locks; files that appear whole."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Scratch", "directory_lock", "scratch_root", "sweep", "sync", "write_synced", "write_whole"]

_PREFIX = "raymlops."
_MADE = re.compile(rf"{re.escape(_PREFIX)}[a-z]+-[a-z0-9_]{{8}}")
"""Names as they are made here: nobody else's directory, such as a clone `raymlops.git`, may be taken for one."""
_LOCK_WAIT_S, _LOCK_LOOK_S = 30.0, 0.002


class Scratch:
    """A directory that only its owner may enter; gone once it is closed, collected, or the process has ended.

    Whatever a killed process left is removed by the next one that makes such a directory in the same place: a process
    holds a lock on its directories, which the kernel lets go of when it dies. A context manager that gives the path.

    Args:
        kind: What it is for, which is part of its name.
        root: Where it is made; ``scratch_root`` by default.
    """

    def __init__(self, kind: str, root: Path | None = None) -> None:
        place = scratch_root() if root is None else root
        sweep(place)
        self.path, handle = _locked(place, f"{_PREFIX}{kind}-")
        self._end = weakref.finalize(self, _remove, self.path, handle)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the directory and all that is in it. Closing twice changes nothing."""
        self._end()


def scratch_root() -> Path:
    """Where this process's directories are made: in the platform's home, where it belongs to one."""
    home = os.environ.get("RAYMLOPS_HOME")
    if not home or not Path(home).is_dir():
        return Path(tempfile.gettempdir())
    place = Path(home) / "scratch"
    place.mkdir(mode=0o700, exist_ok=True)
    return place


def sweep(root: Path) -> list[Path]:
    """Remove the directories of processes that are no more; returns them. Nobody else's are touched."""
    removed = []
    for found in root.glob(f"{_PREFIX}*"):
        try:
            status = found.lstat()
            private = stat.S_ISDIR(status.st_mode) and status.st_mode & 0o777 == 0o700
            if not private or status.st_uid != os.geteuid() or _MADE.fullmatch(found.name) is None:
                continue
            handle = os.open(found, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # it went meanwhile, or is no directory
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # its process is alive
            os.close(handle)
            continue
        _remove(found, handle)
        removed.append(found)
    return removed


def sync(path: Path) -> None:
    """Force a file or the entries of a directory onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and have it on the disk; a reader may see a part of it meanwhile."""
    path.write_bytes(content)
    sync(path)


def write_whole(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file that its owner alone can read: it appears whole, or what was there before stays.

    Args:
        path: Its directory must be there.
        content: All of it.
        durable: Whether it is on the disk when this returns.

    Raises:
        OSError: It could not be written.
    """
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


@contextmanager
def directory_lock(directory: Path, *, alone: bool) -> Iterator[None]:
    """Hold the lock of a directory, which the kernel lets go of when the process dies.

    Args:
        directory: Must be there; what is in it is not read.
        alone: Whether nobody else may hold it; otherwise all hold it who do not ask to be alone.

    Raises:
        FileNotFoundError: The directory is not there.
        TimeoutError: Somebody has held it for 30 s.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the lock of {directory} was held for {_LOCK_WAIT_S:.0f} s") from None
                time.sleep(_LOCK_LOOK_S)
        yield
    finally:
        os.close(handle)


def _locked(root: Path, prefix: str) -> tuple[Path, int]:
    """A new directory, and the handle that holds its lock."""
    while True:
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
        try:
            handle = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # another process has swept it before it was locked
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # likewise, just now
            os.close(handle)
            continue
        if os.fstat(handle).st_nlink:
            return made, handle
        os.close(handle)


def _remove(path: Path, handle: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(handle)
