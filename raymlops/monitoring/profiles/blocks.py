"""Stretches of a reference, of many lengths, counted at once.

Stretches of one length overlap by three quarters, so that each season and each phase of it is met; the rows between
all their ends are counted once, and a running sum gives every stretch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MIN_BLOCKS",
    "MIN_BLOCK_ROWS",
    "BlockCuts",
    "Stretches",
    "cut_rows",
    "stretches_of_rows",
    "stretches_of_times",
]

MIN_BLOCK_ROWS = 50
MIN_BLOCKS = 4
"""Stretches side by side that a length must allow."""
LONGEST = 8
"""The longest stretches are this part of the rows."""
OVERLAPPING = 4
MAX_STRETCHES = 256

Counts = NDArray[np.int64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Stretches:
    """Ways to cut ordered rows into stretches, one way per length, told by places: numbers of rows, or instants.

    Attributes:
        ends: Segment ``i`` lies from ``ends[i]`` up to ``ends[i + 1]``; segments lie between neighbouring ends of
            stretches.
        starts: Per way, first segment of each stretch.
        stops: Per way, the segment after its last one.
        by_time: Whether places are instants and the stretches span as much time as a window does, whatever their rows.
    """

    ends: NDArray[np.int64]
    starts: tuple[Indices, ...]
    stops: tuple[Indices, ...]
    by_time: bool = False

    @property
    def segments(self) -> int:
        """Number of segments."""
        return self.ends.size - 1

    def segment(self, places: NDArray[np.int64]) -> Indices:
        """The segment of each of N rows."""
        return np.searchsorted(self.ends, places, side="right").astype(np.intp) - 1

    def tables(self, cells: Counts) -> list[Counts]:
        """Counts of one column: per way to cut, one row per stretch of at least ``MIN_BLOCK_ROWS`` rows.

        Args:
            cells: Counts of the column, one row per segment.
        """
        running = np.zeros((self.segments + 1, cells.shape[1]), dtype=np.int64)
        np.cumsum(cells, axis=0, out=running[1:])
        tables = [running[stops] - running[starts] for starts, stops in zip(self.starts, self.stops, strict=True)]
        return [table[table.sum(axis=1) >= MIN_BLOCK_ROWS] for table in tables]


@dataclass(frozen=True)
class BlockCuts:
    """N ordered rows that are in memory, and the ways to cut them.

    Attributes:
        stretches: The ways.
        segment: Segment of each of the N rows.
    """

    stretches: Stretches
    segment: Indices

    def tables(self, slots: Indices, size: int) -> list[Counts]:
        """As ``Stretches.tables``, from the slots of a column.

        Args:
            slots: Slot of each of the N values.
            size: Length of the column's counts.
        """
        segments = self.stretches.segments
        cells = np.bincount(self.segment * size + slots, minlength=segments * size)
        return self.stretches.tables(cells.reshape(segments, size))


def cut_rows(rows: int) -> BlockCuts:
    """Rows in memory, cut as ``stretches_of_rows`` says."""
    stretches = stretches_of_rows(rows)
    return BlockCuts(stretches, stretches.segment(np.arange(rows)))


def stretches_of_rows(rows: int) -> Stretches:
    """Stretches of ``MIN_BLOCK_ROWS`` rows up to an eighth of all, each length 1.4 times the one before."""
    longest = rows // LONGEST
    spans = []
    if longest >= MIN_BLOCK_ROWS:
        count = int(np.floor(2 * np.log2(longest / MIN_BLOCK_ROWS))) + 1
        for length in np.unique(np.rint(longest / np.sqrt(2.0) ** np.arange(count)).astype(np.int64)):
            stretches = min(MAX_STRETCHES, OVERLAPPING * (rows // int(length)))
            starts = np.linspace(0, rows - length, stretches).astype(np.int64)
            spans.append((starts, starts + length))
    return _stretches((0, rows), spans, by_time=False)


def stretches_of_times(first: int, last: int, window: int) -> Stretches | None:
    """Stretches as long as a window; ``None`` where fewer than ``MIN_BLOCKS`` of them fit side by side.

    Args:
        first: The earliest instant of a row.
        last: The latest.
        window: Length of a window, in the same unit.
    """
    room = last - first
    # What is left at the end is no whole window unless it nearly is one.
    fitting = int(room // window + (room % window >= 0.9 * window))
    if fitting < MIN_BLOCKS:
        return None
    steps = min(MAX_STRETCHES, OVERLAPPING * (fitting - 1) + 1)
    begins = first + np.linspace(0, (fitting - 1) * window, steps).astype(np.int64)
    return _stretches((first, last + 1), [(begins, begins + window)], by_time=True)


def _stretches(
    span: tuple[int, int], spans: list[tuple[NDArray[np.int64], NDArray[np.int64]]], *, by_time: bool
) -> Stretches:
    ends = np.unique(np.concatenate([np.array(span, dtype=np.int64), *(end for span in spans for end in span)]))
    starts = tuple(np.searchsorted(ends, first).astype(np.intp) for first, _ in spans)
    stops = tuple(np.searchsorted(ends, last).astype(np.intp) for _, last in spans)
    return Stretches(ends, starts, stops, by_time)
