"""Searches, which choose the next trial by the results so far, and the port of tuners, which run trials."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
from pydantic import ValidationError

from raymlops.errors import StorageError
from raymlops.experiments.trial import TrialResult
from raymlops.records.record import sha256_of

if TYPE_CHECKING:
    from raymlops.experiments.searching.halving import HalvingRule
    from raymlops.experiments.trial import TrialSpec
    from raymlops.records.learning.tasks import LearningTask

__all__ = [
    "TRIALS_LOG",
    "Budgeted",
    "Drawn",
    "Journaled",
    "LoggedSearch",
    "Search",
    "Tuner",
    "forget_old",
    "rows_digest",
]

TRIALS_LOG = "raymlops.trials"
"""Name of the logger that tells how far a search is."""
_log = logging.getLogger(TRIALS_LOG)
_HERE = "in the run's own process"


class Search(Protocol):
    """A sequence of trials that may depend on the results so far. Owned by one thread."""

    @property
    def left(self) -> int:
        """How many trials there are left to ask for, at most."""
        ...

    def ask(self) -> TrialSpec | None:
        """The next trial to run, ``None`` where there is none left."""
        ...

    def tell(self, result: TrialResult) -> None:
        """Take the result of a trial that was asked for."""
        ...


class Tuner(Protocol):
    """Runs the trials of a search, somewhere."""

    def search(
        self,
        trials: Search,
        train: pa.Table,
        valid: pa.Table,
        *,
        task: LearningTask,
        name: str,
        concurrency: int | None = None,
        halving: HalvingRule | None = None,
    ) -> list[TrialResult]:
        """Run trials until there are none left.

        Args:
            trials: Gives each trial, and takes each result.
            train: Rows to fit on.
            valid: Rows to judge by; none is older than the newest of ``train``.
            task: What is learned.
            name: Names the search; unique per run.
            concurrency: Trials at once, at most. With 1, equal searches give equal results.
            halving: Gives up trials that are behind, where one is asked for.

        Returns:
            Results of the trials that were run, by number. A trial that failed is a result with an ``error``.
        """
        ...


class Drawn:
    """Trials that were drawn beforehand: the order in which they finish changes nothing.

    Args:
        specs: In the order in which they are tried.
    """

    def __init__(self, specs: Sequence[TrialSpec]) -> None:
        self._left = list(specs)[::-1]

    @property
    def left(self) -> int:
        return len(self._left)

    def ask(self) -> TrialSpec | None:
        return self._left.pop() if self._left else None

    def tell(self, result: TrialResult) -> None:
        del result


class LoggedSearch:
    """A search that logs the result of each trial.

    Args:
        inner: The search.
        metric: Of its task; lower is better.
    """

    def __init__(self, inner: Search, metric: str) -> None:
        self._inner = inner
        self._metric = metric
        self._all = inner.left
        self._best = math.inf
        self._place = _HERE

    @property
    def left(self) -> int:
        return self._inner.left

    def ask(self) -> TrialSpec | None:
        return self._inner.ask()

    def tell(self, result: TrialResult) -> None:
        self._inner.tell(result)
        spec, loss = result.spec, result.metrics.get(self._metric, math.nan)
        ended = f"{self._metric} {loss:.4f}"
        if result.error is not None:
            ended = f"failed: {result.error}"
        elif result.stopped_at is not None:
            ended = f"given up after {result.stopped_at} rounds"
        elif loss < self._best:
            self._best, ended = loss, f"{ended}, the best so far"
        where = f"{spec.family}, {self._place}"
        _log.info("trial %d of %d, %s: %s, %.1f s", spec.number + 1, self._all, where, ended, result.seconds)

    def run_by(self, place: str = _HERE) -> None:
        """Name the place where the next trials run, such as ``by Ray Tune, 2 at a time``."""
        self._place = place


class Budgeted:
    """A search that starts no trial once its time is up; the first one is always tried.

    Args:
        inner: The search.
        budget_s: Seconds from the first question on.
        clock: Gives seconds.
    """

    def __init__(self, inner: Search, budget_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner = inner
        self._budget_s = budget_s
        self._clock = clock
        self._started: float | None = None

    @property
    def left(self) -> int:
        return self._inner.left

    def ask(self) -> TrialSpec | None:
        now = self._clock()
        if self._started is None:
            self._started = now
        elif now - self._started >= self._budget_s:
            return None
        return self._inner.ask()

    def tell(self, result: TrialResult) -> None:
        self._inner.tell(result)


class Journaled:
    """A search that remembers on disk: killed and begun again, it does not run a trial a second time.

    Args:
        inner: The search.
        path: A file for this search over these rows and no other; made where it is not there.

    Raises:
        StorageError: The file cannot be read.
    """

    def __init__(self, inner: Search, path: Path) -> None:
        self._inner = inner
        self._path = path
        self._known: dict[str, TrialResult] = {}
        self.results: dict[int, TrialResult] = {}
        """Results of all trials by number, those of an earlier process included."""
        self.resumed = 0
        """How many came from the journal."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = path.read_bytes().splitlines() if path.exists() else []
        except OSError as error:
            raise StorageError(f"journal of trials {path}: {error}", path=str(path)) from error
        for line in lines:
            try:
                result = TrialResult.model_validate_json(line)
            except ValidationError:
                continue  # the process died while it wrote this line: the trial is run again
            if result.error is None:  # a trial that failed then may succeed now
                self._known[sha256_of(result.spec)] = result

    @property
    def left(self) -> int:
        return self._inner.left

    def ask(self) -> TrialSpec | None:
        while (spec := self._inner.ask()) is not None:
            known = self._known.get(sha256_of(spec))
            if known is None:
                return spec
            self.resumed += 1
            self.results[spec.number] = known
            self._inner.tell(known)
        return None

    def tell(self, result: TrialResult) -> None:
        """Note a result; it is on disk when this returns.

        Raises:
            StorageError: It could not be written.
        """
        try:
            with self._path.open("ab") as file:
                # a line that a dead process left half written ends here
                file.write(b"\n" + result.model_dump_json().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"journal of trials {self._path}: {error}", path=str(self._path)) from error
        self.results[result.spec.number] = result
        self._inner.tell(result)

    def close(self) -> None:
        """Forget the journal: the search has come to its end."""
        self._path.unlink(missing_ok=True)


def forget_old(folder: Path, older_than_s: float) -> None:
    """Remove the journals of searches that were not taken up again."""
    for path in folder.glob("*.jsonl") if folder.is_dir() else ():
        try:
            if time.time() - path.stat().st_mtime > older_than_s:
                path.unlink()
        except FileNotFoundError:
            continue  # another search was over meanwhile


def rows_digest(*tables: pa.Table) -> str:
    """Hex SHA-256 over the content of tables."""
    digest = hashlib.sha256()
    for table in tables:
        digest.update(str(table.schema).encode())
        for batch in table.combine_chunks().to_batches():
            digest.update(batch.serialize())
    return digest.hexdigest()
