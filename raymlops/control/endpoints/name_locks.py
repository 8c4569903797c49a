"""Locks by name: one thread at a time holds each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["NameLocks"]


class NameLocks:
    """Lets one thread at a time work on a name. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    @contextmanager
    def take(self, name: str, timeout_s: float = 0.0) -> Iterator[bool]:
        """Wait for a turn no longer than that; whether it came is what the block is given."""
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        mine = lock.acquire(timeout=timeout_s) if timeout_s > 0 else lock.acquire(blocking=False)
        try:
            yield mine
        finally:
            if mine:
                lock.release()
