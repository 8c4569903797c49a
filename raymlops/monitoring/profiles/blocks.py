"""Stretches of a reference, of many lengths, counted at once.

Stretches of one length overlap by three quarters, so that each season and each phase of it is met; the rows between
all their ends are counted once, and a running sum gives every stretch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIN_BLOCKS", "MIN_BLOCK_ROWS", "BlockCuts", "cut_rows", "cut_times"]

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
class BlockCuts:
    """Ways to cut N ordered rows into stretches, one way per length.

    Attributes:
        segment: Segment of each of the N rows; segments lie between neighbouring ends of stretches.
        segments: Number of segments.
        starts: Per way, first segment of each stretch.
        stops: Per way, the segment after its last one.
        by_time: Whether the stretches span as much time as a window does, whatever their rows.
    """

    segment: Indices
    segments: int
    starts: tuple[Indices, ...]
    stops: tuple[Indices, ...]
    by_time: bool = False

    def tables(self, slots: Indices, size: int) -> list[Counts]:
        """Counts of one column: per way to cut, one row per stretch of at least ``MIN_BLOCK_ROWS`` rows.

        Args:
            slots: Slot of each of the N values.
            size: Length of the column's counts.
        """
        cells = np.bincount(self.segment * size + slots, minlength=self.segments * size)
        running = np.zeros((self.segments + 1, size), dtype=np.int64)
        np.cumsum(cells.reshape(self.segments, size), axis=0, out=running[1:])
        tables = [running[stops] - running[starts] for starts, stops in zip(self.starts, self.stops, strict=True)]
        return [table[table.sum(axis=1) >= MIN_BLOCK_ROWS] for table in tables]


def cut_rows(rows: int) -> BlockCuts:
    """Stretches of ``MIN_BLOCK_ROWS`` rows up to an eighth of all, each length 1.4 times the one before."""
    longest = rows // LONGEST
    spans = []
    if longest >= MIN_BLOCK_ROWS:
        count = int(np.floor(2 * np.log2(longest / MIN_BLOCK_ROWS))) + 1
        for length in np.unique(np.rint(longest / np.sqrt(2.0) ** np.arange(count)).astype(np.int64)):
            stretches = min(MAX_STRETCHES, OVERLAPPING * (rows // int(length)))
            starts = np.linspace(0, rows - length, stretches).astype(np.int64)
            spans.append((starts, starts + length))
    return _cut(rows, spans, by_time=False)


def cut_times(times: NDArray[np.int64], window: int) -> BlockCuts | None:
    """Stretches as long as a window; ``None`` where fewer than ``MIN_BLOCKS`` of them fit side by side.

    Args:
        times: N instants in ascending order.
        window: Length of a window, in the same unit.
    """
    room = int(times[-1] - times[0])
    # What is left at the end is no whole window unless it nearly is one.
    fitting = int(room // window + (room % window >= 0.9 * window))
    if fitting < MIN_BLOCKS:
        return None
    steps = min(MAX_STRETCHES, OVERLAPPING * (fitting - 1) + 1)
    begins = times[0] + np.linspace(0, (fitting - 1) * window, steps).astype(np.int64)
    starts, stops = np.searchsorted(times, begins), np.searchsorted(times, begins + window)
    return _cut(times.size, [(starts, stops)], by_time=True)


def _cut(rows: int, spans: list[tuple[NDArray[np.int64], NDArray[np.int64]]], *, by_time: bool) -> BlockCuts:
    ends = np.unique(np.concatenate([np.array([0, rows]), *(end for span in spans for end in span)]))
    segment = np.repeat(np.arange(ends.size - 1, dtype=np.intp), np.diff(ends))
    starts = tuple(np.searchsorted(ends, first).astype(np.intp) for first, _ in spans)
    stops = tuple(np.searchsorted(ends, last).astype(np.intp) for _, last in spans)
    return BlockCuts(segment, int(ends.size - 1), starts, stops, by_time)
