"""What a model takes and gives."""

from __future__ import annotations

from typing import Literal

from raymlops.records.learning.datatypes import TEXT
from raymlops.records.record import Record

__all__ = ["ColumnSpec", "Signature"]


class ColumnSpec(Record):
    """One input column of a model."""

    name: str
    dtype: str
    """Open Inference Protocol datatype: ``FP64``, ``FP32``, ``INT64``, ``BOOL``, ``BYTES`` ..."""


class Signature(Record):
    """What a model takes and gives."""

    task: Literal["classifier", "regressor"]
    inputs: tuple[ColumnSpec, ...]
    """In the order the model was fitted on."""
    classes: tuple[str | int | float | bool, ...] = ()
    """Labels of the classes, in the order of the ``probability`` columns; empty for a regressor."""

    @property
    def names(self) -> tuple[str, ...]:
        """The input columns."""
        return tuple(column.name for column in self.inputs)

    @property
    def texts(self) -> frozenset[str]:
        """The input columns that are text."""
        return frozenset(column.name for column in self.inputs if column.dtype == TEXT)
