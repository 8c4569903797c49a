"""A small sample of the requests that were answered."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

import numpy.typing as npt

from raymlops.flavors.protocol import Columns

__all__ = ["RecordedRequests"]


class RecordedRequests:
    """A bounded sample of the newest answered requests. Written by one event loop, read by any thread.

    Args:
        capacity: Requests kept; the oldest goes first.
        max_rows: Rows kept of one request.
        every_s: At most one request is taken in this time, so that a busy replica pays for few copies.
        max_bytes: Memory that one request may take, estimated; a larger one is not kept.
    """

    def __init__(self, capacity: int = 32, max_rows: int = 16, every_s: float = 0.1, max_bytes: int = 1 << 20) -> None:
        self._kept: deque[Columns] = deque(maxlen=capacity)
        self._lock = threading.Lock()
        self._max_rows = max_rows
        self._every_ns = int(every_s * 1e9)
        self._next_ns = 0
        self._max_bytes = max_bytes

    def offer(self, columns: Columns) -> None:
        """Take a request that was answered, or let it pass."""
        now_ns = time.perf_counter_ns()
        if now_ns < self._next_ns:
            return
        self._next_ns = now_ns + self._every_ns
        # a copy: the arrays may be views of a body of megabytes
        sample = {name: values[: self._max_rows].copy() for name, values in columns.items()}
        if sum(map(_nbytes, sample.values())) > self._max_bytes:
            return
        with self._lock:
            self._kept.append(sample)

    def sample(self) -> tuple[Columns, ...]:
        """What is kept, oldest first."""
        with self._lock:
            return tuple(self._kept)


def _nbytes(values: npt.NDArray[Any]) -> int:
    chars = sum(len(value) for value in values if value is not None) if values.dtype.kind == "O" else 0
    return values.nbytes + chars
