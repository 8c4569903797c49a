"""What is learned from which columns."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from raymlops.records.record import Record

__all__ = ["METRICS", "LearningTask", "Metric", "TaskKind"]

TaskKind = Literal["classifier", "regressor"]
Metric = Literal["log_loss", "brier", "rmse", "mae"]
"""What trials are selected and models are compared by: always lower is better, always a mean over rows."""

METRICS: dict[str, tuple[str, ...]] = {"classifier": ("log_loss", "brier"), "regressor": ("rmse", "mae")}
"""Kind of task -> its metrics."""


class LearningTask(Record):
    """A supervised problem over the columns of a table."""

    kind: TaskKind = "classifier"
    inputs: tuple[str, ...]
    """Model inputs, in the order the model is fitted on."""
    categories: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    """Inputs that are categories although they are numbers, such as the number of a store; texts are anyhow."""
    label: str = "label"
    event_time: str = "event_time"
    """Column of instants; needed by windows and by rows that weigh less with age."""
    metric: Metric = "log_loss"
    classes: int = 2
    """Number of classes of a classifier, whose labels are 0 to ``classes`` - 1; ignored for a regressor."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.metric not in METRICS[self.kind]:
            raise ValueError(f"metric of a {self.kind} must be one of {METRICS[self.kind]}, got {self.metric!r}")
        if not self.inputs or len(set(self.inputs)) != len(self.inputs):
            raise ValueError(f"inputs must be distinct and at least one, got {self.inputs}")
        if not set(self.categories) <= set(self.inputs):
            raise ValueError(f"categories must be inputs, got {sorted(set(self.categories) - set(self.inputs))}")
        if self.label in self.inputs:
            raise ValueError(f"inputs must not hold the label {self.label!r}")
        if self.classes < 2:
            raise ValueError(f"classes must be at least 2, got {self.classes}")
        return self

    @property
    def binary(self) -> bool:
        """Whether it is a classifier of two classes."""
        return self.kind == "classifier" and self.classes == 2
