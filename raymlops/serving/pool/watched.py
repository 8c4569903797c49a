"""A model whose calls are counted, timed and noted: what a pool knows of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from raymlops.flavors.protocol import Columns, Outputs
from raymlops.records.learning.signatures import Signature
from raymlops.serving.models.model import Model
from raymlops.serving.pool.running_note import Mark
from raymlops.serving.protocol.schema import InputSchema

__all__ = ["WatchedModel", "Work", "Worked", "resident_bytes"]

_EVERY = 16
"""One call of so many is measured for what it leaves in memory: asking the kernel costs some 10 us. It is one beside
which no other code of a model runs: a neighbour that is being loaded would look like a leak."""
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
        self._measured = 0
        """Calls so far when one was measured the last time."""

    @property
    def worked(self) -> Worked:
        """Since the start."""
        return self._worked

    def run(self, model: Model, encoded: Any) -> Outputs:
        """Have the model score rows."""
        measured = False
        due = self._worked.calls - self._measured >= _EVERY - 1  # not the first, which warms up
        grown = 0
        started = time.perf_counter()
        try:
            with self.mark:
                alone = self.mark.alone() if due else None
                before = 0 if alone is None else resident_bytes()
                try:
                    return model.score(encoded)
                finally:
                    if measured := alone is not None and self.mark.alone() == alone:
                        grown = resident_bytes() - before
        finally:
            seconds = time.perf_counter() - started
            with self._lock:
                calls, total, growth = self._worked
                if measured:  # it stands for all calls since the one before
                    growth, self._measured = growth + grown * (calls + 1 - self._measured), calls + 1
                self._worked = Worked(calls + 1, total + seconds, growth)


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
