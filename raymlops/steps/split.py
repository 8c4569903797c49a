"""Split rows by time: what is fitted on lies before what selects, and that before what judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.experiments.task import IntArray, target
from raymlops.pipelines.step import Halt
from raymlops.records.learning.tasks import LearningTask
from raymlops.records.record import Record
from raymlops.steps.outcome import blocked
from raymlops.steps.project.context import EVENT_TIME

__all__ = ["Parts", "Window", "event_times_us", "holdout_start", "split", "split_places"]

_DAY_US = 86_400_000_000


class Window(Record):
    """Which rows a run uses, and for what; see ``steps.project.parameters.TrainingParameters``."""

    train_window_days: float | None = None
    label_maturity_days: float = 0.0
    holdout_days: float = 14.0
    validation_share: float = 0.2
    max_rows: int | None = None
    seed: int = 0
    knowledge_cutoff: bool = False


class Parts(Record):
    """What is learned, and from which rows of a table in order of time."""

    task: LearningTask
    validation: int
    """Place of the first row that selects; the rows before it are fitted on."""
    holdout: int
    """Place of the first row that judges."""
    rows: int
    """Rows in all."""
    training_set: str = ""
    """Digest of the manifest of the training set that they are."""

    def train(self, frame: pa.Table) -> pa.Table:
        """The rows that trials are fitted on."""
        return frame.slice(0, self.validation)

    def valid(self, frame: pa.Table) -> pa.Table:
        """The rows that select among trials."""
        return frame.slice(self.validation, self.holdout - self.validation)

    def before_holdout(self, frame: pa.Table) -> pa.Table:
        """Both of these: what the winner is fitted on."""
        return frame.slice(0, self.holdout)

    def judged(self, frame: pa.Table) -> pa.Table:
        """The holdout."""
        return frame.slice(self.holdout)


def event_times_us(frame: pa.Table) -> IntArray:
    """Event times in microseconds since 1970."""
    return np.asarray(frame[EVENT_TIME].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy(), dtype=np.int64)


def holdout_start(times_us: IntArray, holdout_days: float) -> int:
    """Place of the first row that is less than ``holdout_days`` older than the newest; 0 of no rows."""
    if not len(times_us):
        return 0
    return int(np.searchsorted(times_us, times_us[-1] - int(holdout_days * _DAY_US), side="right"))


def split_places(times_us: IntArray, holdout_days: float, validation_share: float) -> tuple[int, int]:
    """Where validation and holdout begin, in rows in order of time; rows of one instant are never parted."""
    holdout = holdout_start(times_us, holdout_days)
    wanted = int(holdout * (1.0 - validation_share))
    if wanted >= holdout:
        return holdout, holdout
    return int(np.searchsorted(times_us[:holdout], times_us[wanted], side="left")), holdout


def split(
    context: object,
    *,
    frame: pa.Table,
    task: Mapping[str, Any],
    report: Mapping[str, Any],
    window: Mapping[str, Any],
) -> Mapping[str, Any] | Halt:
    """Cut the rows; blocked where a part comes out empty, or a class has no row to be learned from."""
    del context
    asked = Window.model_validate(window)
    validation, holdout = split_places(event_times_us(frame), asked.holdout_days, asked.validation_share)
    sizes = {"train": validation, "validation": holdout - validation, "holdout": frame.num_rows - holdout}
    empty = [name for name, rows in sizes.items() if rows == 0]
    if empty:
        return blocked([f"empty: the split into {sizes} leaves no rows for {empty}"])
    learned = LearningTask.model_validate(task)
    parts = Parts(
        task=learned,
        validation=validation,
        holdout=holdout,
        rows=frame.num_rows,
        training_set=report["training_set"],
    )
    if learned.kind == "classifier":
        seen = np.bincount(target(parts.train(frame), learned).astype(np.int64), minlength=learned.classes)
        if (seen == 0).any():
            return blocked([f"label: classes {np.flatnonzero(seen == 0).tolist()} have no training row"])
    return {"parts": parts}
