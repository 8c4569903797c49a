"""Fits on rows that lack some of a task's classes: the ones seen are learned, and have their places among all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

import numpy as np

from raymlops.errors import NotEnoughRows
from raymlops.experiments.metrics import SMALLEST

if TYPE_CHECKING:
    from raymlops.experiments.task import FloatArray, IntArray
    from raymlops.flavors.protocol import RoundReport
    from raymlops.records.learning.tasks import LearningTask

__all__ = ["SeenClasses"]


class SeenClasses:
    """The classes of a task that the rows of a fit hold.

    Libraries number the classes that they see, or refuse numbers that leave one out. So an estimator is fitted on
    0, 1, 2 ... of those seen, and its probabilities are put where they belong among all; of the others they are 0.

    Attributes:
        numbers: The classes seen, in order.
        task: What is learned from such rows: the same, of the classes seen.
    """

    def __init__(self, numbers: IntArray, task: LearningTask) -> None:
        self.numbers = numbers
        self._classes = task.classes
        # of two classes, a library's own metric would be on another scale than that of several
        self.task = task if self.whole else task.model_copy(update={"classes": len(numbers), "metric": "log_loss"})

    @classmethod
    def of(cls, labels: FloatArray | IntArray, task: LearningTask) -> Self | None:
        """Those among labels; ``None`` for a regression.

        Raises:
            NotEnoughRows: They are fewer than two.
        """
        if task.kind == "regressor":
            return None
        numbers = np.unique(labels).astype(np.int64)
        if len(numbers) < 2:
            raise NotEnoughRows(
                f"the rows to fit on must hold at least two of the {task.classes} classes, got {numbers.tolist()}",
                classes=numbers.tolist(),
            )
        return cls(numbers, task)

    @property
    def whole(self) -> bool:
        """Whether no class of the task is missing."""
        return len(self.numbers) == self._classes

    @property
    def missing(self) -> list[int]:
        """The classes of the task that were not seen."""
        return sorted(set(range(self._classes)) - set(self.numbers.tolist()))

    def known(self, labels: FloatArray | IntArray) -> IntArray:
        """Places of the labels whose class was seen."""
        return np.flatnonzero(np.isin(labels, self.numbers))

    def encode(self, labels: FloatArray | IntArray) -> IntArray:
        """The labels, all of classes that were seen, as places among these."""
        return np.searchsorted(self.numbers, labels).astype(np.int64)

    def spread(self, predictions: FloatArray) -> FloatArray:
        """Probabilities [rows, classes seen] as [rows, classes of the task]."""
        if self.whole or predictions.shape[1:] != (len(self.numbers),):
            return predictions  # a mismatch is reported by the evaluation
        spread = np.zeros((len(predictions), self._classes))
        spread[:, self.numbers] = predictions
        return spread

    def reporter(self, report: RoundReport, rows: int, known: int) -> RoundReport:
        """A report of the mean loss over all the rows watched, of which an estimator is shown those it can learn.

        Args:
            report: Hears of it.
            rows: Rows watched.
            known: Those of them whose class was seen; each of the others has the largest loss there is.
        """
        share, rest = known / rows, (rows - known) / rows * -math.log(SMALLEST)
        return lambda rounds, loss: report(rounds, loss * share + rest)
