"""Losses of predictions row by row, of any task, comparable between versions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from raymlops.experiments.metrics import loss
from raymlops.records.bundles import ProjectSpec
from raymlops.records.learning.tasks import LearningTask, Metric, TaskKind

__all__ = ["TaskLoss"]

_FLOOR = 1e-6
"""Least probability that a class is taken to have had."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TaskLoss:
    """The loss that a project's model is judged by.

    Attributes:
        kind: Of the task.
        metric: Of the project.
    """

    kind: TaskKind
    metric: Metric

    @classmethod
    def of(cls, spec: ProjectSpec) -> TaskLoss:
        """That of a project."""
        return cls(cast("TaskKind", spec.task), cast("Metric", spec.metric))

    @property
    def name(self) -> str:
        """Name of the loss of one row."""
        named = {"rmse": "squared error", "mae": "absolute error", "brier": "Brier score"}
        return named.get(self.metric, self.metric.replace("_", " "))

    def task(self, classes: int) -> LearningTask:
        """The task, as losses are computed by it."""
        return LearningTask(kind=self.kind, metric=self.metric, inputs=("input",), classes=max(2, classes))

    def rows(self, labels: Sequence[float] | Floats, predictions: Sequence[Sequence[float]] | Floats) -> Floats:
        """One loss per row.

        Args:
            labels: Class numbers, or values.
            predictions: ``[rows, classes]`` or ``[rows, 1]``. Rows may have different numbers of classes: a class that
                a version did not know has no probability, which counts as one in a million.
        """
        truth = np.asarray(labels, dtype=np.float64)
        if not len(truth):
            return np.empty(0)
        if self.kind == "regressor":
            return loss(truth, np.array([row[0] for row in predictions], dtype=np.float64), self.task(2))
        classes = max(2, int(truth.max()) + 1, *map(len, predictions))
        given = np.zeros((len(truth), classes))
        for place, row in enumerate(predictions):
            given[place, : len(row)] = row
        return loss(truth, np.clip(given, _FLOOR, 1 - _FLOOR), self.task(classes))
