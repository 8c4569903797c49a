"""What is learned from which columns, and how Arrow tables become the arrays that estimators take."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import model_validator

from raymlops.errors import DataError, SchemaMismatch
from raymlops.records.record import Record

__all__ = [
    "METRICS",
    "FloatArray",
    "IntArray",
    "LearningTask",
    "Metric",
    "TaskKind",
    "is_numeric",
    "matrix",
    "numeric",
    "target",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
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
        if self.label in self.inputs:
            raise ValueError(f"inputs must not hold the label {self.label!r}")
        if self.classes < 2:
            raise ValueError(f"classes must be at least 2, got {self.classes}")
        return self

    @property
    def binary(self) -> bool:
        """Whether it is a classifier of two classes."""
        return self.kind == "classifier" and self.classes == 2


def is_numeric(dtype: pa.DataType) -> bool:
    """Whether a column of this type is a model input as it is: integer, float or bool."""
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_boolean(dtype))


def numeric(column: pa.ChunkedArray, name: str) -> FloatArray:
    """One column as float64; null is NaN, a bool is 0 or 1.

    Raises:
        SchemaMismatch: The column is neither integer, float nor bool.
    """
    if not is_numeric(column.type):
        raise SchemaMismatch(f"column {name!r} must be a number to be a model input, got {column.type}", column=name)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    filled = pc.fill_null(column.cast(pa.float64(), safe=False), float("nan"))
    return np.asarray(filled.to_numpy(), dtype=np.float64)


def matrix(table: pa.Table, inputs: tuple[str, ...]) -> FloatArray:
    """The inputs as a row-major array of shape [rows, inputs]; null is NaN.

    Raises:
        SchemaMismatch: A column is not there, or not a number.
    """
    missing = [name for name in inputs if name not in table.column_names]
    if missing:
        raise SchemaMismatch(f"inputs {missing} are not columns of the table", columns=missing)
    values = np.empty((table.num_rows, len(inputs)), dtype=np.float64)
    for position, name in enumerate(inputs):
        values[:, position] = numeric(table.column(name), name)
    return values


def target(table: pa.Table, task: LearningTask) -> FloatArray | IntArray:
    """The labels: int64 in 0 to classes - 1 for a classifier, float64 for a regressor; length is the table's rows.

    Raises:
        SchemaMismatch: The label is not there or not a number.
        DataError: A label is null, not finite, or not one of the classes.
    """
    if task.label not in table.column_names:
        raise SchemaMismatch(f"label {task.label!r} is not a column of the table", column=task.label)
    values = numeric(table.column(task.label), task.label)
    if not np.isfinite(values).all():
        raise DataError(
            f"label {task.label!r} must be finite, got {int((~np.isfinite(values)).sum())} rows that are not"
        )
    if task.kind == "regressor":
        return values
    labels = values.astype(np.int64)
    if len(labels) and ((labels != values).any() or labels.min() < 0 or labels.max() >= task.classes):
        got = np.unique(values)[:5].tolist()
        raise DataError(f"label {task.label!r} must be an integer from 0 to {task.classes - 1}, got {got}")
    return labels
