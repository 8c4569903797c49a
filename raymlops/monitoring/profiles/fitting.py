"""Fitting a reference part by part: what is frozen first, and what parts of the rows count, which adds up.

A table in memory is one part. So a table that is cut into parts, however it is cut, gives the same reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raymlops.errors import DataError
from raymlops.monitoring.profiles.blocks import Stretches
from raymlops.monitoring.profiles.columns import ColumnBins, fit_bins, singles

__all__ = ["Cells", "FrozenBins", "PartCounts", "freeze_bins", "instants_us"]

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """Counts of one column by segment; only the segments are held in which a part has rows.

    Attributes:
        first: The first of these segments.
        counts: One row per segment, one column per slot.
    """

    first: int
    counts: Counts

    def __add__(self, other: Cells) -> Cells:
        """Of both."""
        first = min(self.first, other.first)
        end = max(self.first + len(self.counts), other.first + len(other.counts))
        counts = np.zeros((end - first, self.counts.shape[1]), dtype=np.int64)
        for each in (self, other):
            counts[each.first - first : each.first - first + len(each.counts)] += each.counts
        return Cells(first, counts)

    def spread(self, segments: int) -> Counts:
        """One row for each of all segments."""
        counts = np.zeros((segments, self.counts.shape[1]), dtype=np.int64)
        counts[self.first : self.first + len(self.counts)] = self.counts
        return counts


@dataclass(frozen=True)
class PartCounts:
    """Counts of some rows of a future reference. ``a + b`` is exact, associative and commutative.

    Attributes:
        rows: Rows counted.
        cells: Column -> its counts.
        problems: Column -> why it cannot be counted.
    """

    rows: int
    cells: Mapping[str, Cells]
    problems: Mapping[str, str] = field(default_factory=dict)

    def __add__(self, other: PartCounts) -> PartCounts:
        """Of both."""
        problems = {**self.problems, **other.problems}
        for name in self.problems.keys() & other.problems.keys():
            problems[name] = min(self.problems[name], other.problems[name])
        cells = {name: cells + other.cells[name] for name, cells in self.cells.items() if name in other.cells}
        return PartCounts(self.rows + other.rows, cells, problems)


@dataclass(frozen=True)
class FrozenBins:
    """The bins of a reference to be.

    Attributes:
        columns: Column -> its bins.
        skipped: Column without bins -> the reason.
        once: Column -> its ``singles``; empty where the bins were fitted on a part of the rows alone.
    """

    columns: Mapping[str, ColumnBins]
    skipped: Mapping[str, str]
    once: Mapping[str, tuple[int, int]]

    def count(self, table: pa.Table, stretches: Stretches, places: Counts) -> PartCounts:
        """Count some rows.

        Args:
            table: N rows, at least one.
            stretches: How all rows are cut.
            places: Of the N rows: their numbers, or their instants, as the stretches are told by.
        """
        segment = stretches.segment(places)
        first, last = int(segment.min()), int(segment.max())
        cells, problems = {}, {}
        for name, bins in self.columns.items():
            try:
                slots = bins.slots(table.column(name))
            except (DataError, pa.ArrowException) as error:
                problems[name] = str(error)
                continue
            held = last - first + 1
            counts = np.bincount((segment - first) * bins.size + slots, minlength=held * bins.size)
            cells[name] = Cells(first, counts.reshape(held, bins.size).astype(np.int64))
        return PartCounts(table.num_rows, cells, problems)


def freeze_bins(table: pa.Table, columns: Sequence[str], *, whole: bool = True) -> FrozenBins:
    """Freeze the bins of columns.

    Args:
        table: Rows to fit them on.
        columns: To be used; one that cannot be is left out with the reason.
        whole: Whether these are all rows of the reference to be.
    """
    found, skipped, once = {}, {}, {}
    for name in columns:
        try:
            found[name] = fit_bins(table.column(name))
            if whole:
                once[name] = singles(found[name], table.column(name))
        except (DataError, pa.ArrowException) as error:
            found.pop(name, None)
            skipped[name] = str(error)
    return FrozenBins(found, skipped, once)


def instants_us(table: pa.Table, event_time: str) -> Counts:
    """The instants of N rows, in microseconds since 1970.

    Raises:
        DataError: One is missing.
    """
    column = table.column(event_time)
    if column.null_count:
        raise DataError(f"column {event_time!r} must not be null, got {column.null_count} nulls", columns=[event_time])
    times: Counts = column.cast(pa.timestamp("us", tz=column.type.tz)).cast(pa.int64()).to_numpy()
    return times
