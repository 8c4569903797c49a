"""Runs: what the online store keeps of one entity in one view.

A run holds the entity's recent rows in total order, newest first, with the running sums that its windows need. It reads
the same as the whole history for every instant from ``complete_from`` on: the rows of the longest window before that
instant are there, and the newest row at it. Everything in front of the newest row has a fixed size, so that one
unpacking reads what most questions are about, and nothing else is parsed:

    header | newest row | older rows | running sums: one row of digits more than rows | texts, row by row

This module says where things stand; ``run_batch`` makes the bytes, ``run_reader`` answers from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from raymlops.errors import StorageError
from raymlops.features.definitions.fields import DType
from raymlops.features.definitions.validity import span_us

if TYPE_CHECKING:
    from raymlops.features.definitions.views import FeatureView

__all__ = ["MAGIC", "RunLayout", "SumLayout"]

MAGIC = 0x52554E32
"""First four bytes of a run; another layout gets another, and what was written in an older one is rebuilt."""

_KINDS: dict[DType, str] = {"float64": "<f8", "int64": "<i8", "bool": "?", "timestamp": "<i8"}
_CODES: dict[DType, str] = {"float64": "d", "int64": "q", "bool": "?", "string": "II", "timestamp": "q"}


@dataclass(frozen=True)
class SumLayout:
    """Running sums of one field, or of its squares."""

    field: int
    squares: bool
    slot: int
    """Place, among the numbers of the header, of the first column of its digits; the lowest digit and the number of
    digits follow."""


class RunLayout:
    """How the runs of one view are laid out.

    Args:
        view: The view; the layout depends on nothing else.
    """

    def __init__(self, view: FeatureView) -> None:
        self.view = view
        self.dtypes: tuple[DType, ...] = tuple(column.dtype for column in view.fields)
        self.texts: tuple[int, ...] = tuple(n for n, dtype in enumerate(self.dtypes) if dtype == "string")
        self.window_us = span_us(view.longest_window)
        names = [column.name for column in view.fields]
        summed = sorted({names.index(a.field) for a in view.aggregates if a.sums})
        squared = {names.index(a.field) for a in view.aggregates if a.function == "std"}
        parts = [(field, squares) for field in summed for squares in (False, True)[: 1 + (field in squared)]]
        self.sums = tuple(SumLayout(field, squares, 5 + 3 * n) for n, (field, squares) in enumerate(parts))
        header = [("magic", "<u4"), ("rows", "<u4"), ("complete_from", "<i8")]
        if parts:
            header += [("sums", "<u4"), ("digits", "<u4")]
            header += [(f"{name}{n}", kind) for n in range(len(parts)) for name, kind in _SUM_NUMBERS]
        self.header: np.dtype[Any] = np.dtype(header)
        self.header_format = "<IIq" + ("II" + "IiI" * len(parts) if parts else "")
        """The header, as ``struct`` reads it."""
        record: list[Any] = [("event", "<i8"), ("created", "<i8"), ("sequence", "<i8"), ("nulls", "?", (len(names),))]
        for n, dtype in enumerate(self.dtypes):
            record += [(f"begin{n}", "<u4"), (f"end{n}", "<u4")] if dtype == "string" else [(f"v{n}", _KINDS[dtype])]
        self.record: np.dtype[Any] = np.dtype(record)
        self.header_bytes, self.record_bytes = self.header.itemsize, self.record.itemsize
        places: Any = self.record.fields
        names = [f"begin{n}" if dtype == "string" else f"v{n}" for n, dtype in enumerate(self.dtypes)]
        self.offsets: tuple[int, ...] = tuple(places[name][1] for name in names)
        """Per field where in a row its value stands; of a text, where it begins and ends in the run."""
        self.null_offsets: tuple[int, ...] = tuple(places["nulls"][1] + n for n in range(len(names)))
        """Per field where in a row it stands whether it is null."""

    def row_format(self, fields: list[int]) -> str:
        """How ``struct`` reads a row: event time, the nulls of all fields, and the values of some, in the view's order.

        A text gives two numbers: where it begins and ends in the run.
        """
        wanted = set(fields)
        values = []
        for field, dtype in enumerate(self.dtypes):
            size = {"bool": 1}.get(dtype, 8)
            values.append(_CODES[dtype] if field in wanted else f"{size}x")
        return f"q16x{len(self.dtypes)}s{''.join(values)}"

    def broken(self, reason: object) -> StorageError:
        """What to raise about bytes that are not such a run."""
        return StorageError(f"online store: run of view {self.view.ref!r} is broken: {reason}", view=self.view.ref)


_SUM_NUMBERS = (("column", "<u4"), ("lowest", "<i4"), ("count", "<u4"))
