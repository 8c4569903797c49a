"""An online store in the memory of one process, for tests of what reads and writes one."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from raymlops.features.online.online_store import Snapshot, ViewUpdate, Watermark, address

__all__ = ["InMemoryOnlineStore"]


class _InMemorySnapshot:
    def __init__(self, runs: Mapping[bytes, bytes]) -> None:
        self._runs = runs

    def get_many(self, addresses: Sequence[bytes]) -> list[memoryview | None]:
        found = map(self._runs.get, addresses)
        return [None if run is None else memoryview(run) for run in found]


class InMemoryOnlineStore:
    """Keeps all in this process; a commit copies the directory of runs, so that snapshots stay as they are."""

    remote = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: Mapping[bytes, bytes] = {}
        self._watermarks: dict[str, Watermark] = {}

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        return nullcontext(_InMemorySnapshot(self._runs))

    def watermark(self, view: str) -> Watermark | None:
        return self._watermarks.get(view)

    def commit(self, updates: Sequence[ViewUpdate]) -> None:
        with self._lock:
            runs = dict(self._runs)
            for update in updates:
                runs.update({address(update.view, key): run for key, run in update.runs.items()})
            self._runs = runs
            self._watermarks = self._watermarks | {update.view: update.watermark for update in updates}

    def remove(self) -> None:
        self._runs, self._watermarks = {}, {}

    def close(self) -> None:
        self._runs = {}
