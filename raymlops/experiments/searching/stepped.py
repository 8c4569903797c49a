"""A trial that pauses after each round, so that a scheduler may decide whether it goes on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa

from raymlops.experiments.trial import TrialResult
from raymlops.experiments.trial_run import run_trial

if TYPE_CHECKING:
    from raymlops.experiments.trial import TrialSpec
    from raymlops.records.learning.tasks import LearningTask

__all__ = ["SteppedTrial"]


class SteppedTrial:
    """Runs a trial in a thread of its own, and holds it wherever it is to be looked at. Owned by one thread.

    Args:
        spec: The family and its parameters.
        train: Rows to fit on.
        valid: Rows to judge by.
        task: What is learned.
        pauses: Number of rounds -> whether to pause after them.
    """

    def __init__(
        self, spec: TrialSpec, train: pa.Table, valid: pa.Table, *, task: LearningTask, pauses: Callable[[int], bool]
    ) -> None:
        self._pauses = pauses
        self._told: queue.SimpleQueue[tuple[int, float] | TrialResult] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._paused = False

        def run() -> None:
            self._told.put(run_trial(spec, train, valid, task=task, report=self._report))

        self._thread = threading.Thread(target=run, name=f"trial-{spec.number}", daemon=True)
        self._thread.start()

    def advance(self) -> tuple[int, float] | TrialResult:
        """Go on to the next pause, or to the end.

        Returns:
            Rounds done and loss on the validation rows, or the result.
        """
        if self._paused:
            self._answers.put(True)
        told = self._told.get()
        self._paused = not isinstance(told, TrialResult)
        return told

    def stop(self) -> None:
        """End a trial that pauses; one that has ended stays so."""
        if self._paused:
            self._paused = False
            self._answers.put(False)
            self._thread.join()

    def _report(self, rounds: int, loss: float) -> bool:
        if not self._pauses(rounds):
            return True
        self._told.put((rounds, loss))
        return self._answers.get()
