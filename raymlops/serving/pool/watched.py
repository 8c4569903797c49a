"""A model whose calls are counted, timed and noted: what a pool knows of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from raymlops.records.models import Signature
from raymlops.serving.models.model import Model
from raymlops.serving.pool.running_note import Mark
from raymlops.serving.protocol.protocols import Columns, Outputs
from raymlops.serving.protocol.schema import InputSchema

__all__ = ["WatchedModel", "Work", "Worked", "resident_bytes"]

_EVERY = 16
"""One call of so many is measured for what it leaves in memory: asking the kernel costs some 10 us."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Memory that this process holds."""
    return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES


class Worked(NamedTuple):
    """What the calls of a model took so far."""

    calls: int = 0
    seconds: float = 0.0
    grown_bytes: int = 0
    """Memory that the process holds more after its calls than before, by a sample of them."""


class Work:
    """Counts the calls of one model. Thread-safe.

    Args:
        mark: Noted while a call runs.
    """

    def __init__(self, mark: Mark) -> None:
        self.mark = mark
        self._lock = threading.Lock()
        self._worked = Worked()

    @property
    def worked(self) -> Worked:
        """Since the start."""
        return self._worked

    def run(self, model: Model, encoded: Any) -> Outputs:
        """Have the model score rows."""
        measured = self._worked.calls % _EVERY == _EVERY - 1  # not the first, which warms up
        before = resident_bytes() if measured else 0
        started = time.perf_counter()
        try:
            with self.mark:
                return model.score(encoded)
        finally:
            seconds = time.perf_counter() - started
            grown = (resident_bytes() - before) * _EVERY if measured else 0
            with self._lock:
                calls, total, growth = self._worked
                self._worked = Worked(calls + 1, total + seconds, growth + grown)


class WatchedModel:
    """A model as it is, but for what its calls are counted by.

    Args:
        model: Does the work.
        work: Counts it.
    """

    def __init__(self, model: Model, work: Work) -> None:
        self._model = model
        self._work = work

    @property
    def schema(self) -> InputSchema:
        return self._model.schema

    @property
    def signature(self) -> Signature:
        return self._model.signature

    def predict(self, columns: Columns) -> Outputs:
        return self._work.run(self._model, self._model.encode(columns))

    def encode(self, columns: Columns) -> Any:
        return self._model.encode(columns)

    def stack(self, encoded: Sequence[Any]) -> Any:
        return self._model.stack(encoded)

    def score(self, encoded: Any) -> Outputs:
        return self._work.run(self._model, encoded)

    def importances(self) -> dict[str, float]:
        return self._model.importances()
