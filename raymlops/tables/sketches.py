"""Sketches of columns that do not fit in memory: each has bounded size and tells its error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from raymlops.scratch import Scratch

__all__ = ["DistinctSketch", "FrequentSketch", "LargestByHash", "QuantileSketch"]

Hashes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_SPACE = 2.0**64


class DistinctSketch:
    """Number of distinct values, from the ``size`` smallest of their hashes; exact for fewer values.

    Args:
        size: Hashes kept.
    """

    def __init__(self, size: int = 1 << 14) -> None:
        self._size = size
        self._smallest: Hashes = np.empty(0, np.uint64)

    def add(self, hashes: Hashes) -> None:
        """Take in the hashes of N values."""
        if len(self._smallest) == self._size:
            hashes = hashes[hashes < self._smallest[-1]]
        if len(hashes):
            self._smallest = np.unique(np.concatenate([self._smallest, hashes]))[: self._size]

    @property
    def count(self) -> int:
        """The estimate."""
        if len(self._smallest) < self._size:
            return len(self._smallest)
        return round((self._size - 1) * _SPACE / float(self._smallest[-1]))

    @property
    def error(self) -> float:
        """Relative standard error of the estimate; 0 where it is exact."""
        return 0.0 if len(self._smallest) < self._size else float((self._size - 2) ** -0.5)


class QuantileSketch:
    """Quantiles of a stream of numbers, exact up to ``size`` of them.

    A full level is sorted, and every other number of it goes on to the next level, where each stands for twice as
    many. One such step moves no rank by more than the weight of what it halves, so the sum of these weights bounds
    the error of every rank.

    Args:
        size: Numbers kept per level.
    """

    def __init__(self, size: int = 1 << 13) -> None:
        self._size = size
        self._levels: list[Floats] = [np.empty(0)]
        self._count = 0
        self._rank_error = 0
        self._steps = 0

    def add(self, values: Floats) -> None:
        """Take in N numbers, none of them NaN."""
        self._count += len(values)
        self._levels[0] = np.concatenate([self._levels[0], values])
        level = 0
        while len(self._levels[level]) > self._size:
            self._compact(level)
            level += 1

    def _compact(self, level: int) -> None:
        full = np.sort(self._levels[level])
        paired = len(full) // 2 * 2
        # Alternating which of a pair stays keeps the errors of successive steps from adding up to one side.
        kept, self._steps = full[self._steps % 2 : paired : 2], self._steps + 1
        self._levels[level] = full[paired:]
        if level + 1 == len(self._levels):
            self._levels.append(np.empty(0))
        self._levels[level + 1] = np.concatenate([self._levels[level + 1], kept])
        self._rank_error += 1 << level

    @property
    def error(self) -> float:
        """How far a rank may be off, as a share of the numbers."""
        return self._rank_error / self._count if self._count else 0.0

    def quantiles(self, shares: Sequence[float]) -> Floats:
        """For each share, the smallest number that is not below so many of them; there must be one."""
        values = np.concatenate(self._levels)
        weights = np.concatenate([np.full(len(part), 1 << level) for level, part in enumerate(self._levels)])
        order = np.argsort(values, kind="stable")
        ranks = np.cumsum(weights[order])
        wanted = np.ceil(np.asarray(shares) * ranks[-1]).clip(1)
        picked: Floats = values[order][np.searchsorted(ranks, wanted)]
        return picked


class FrequentSketch:
    """The most frequent values of a stream and how often they came, exact for up to ``size`` different ones.

    Args:
        size: Different values kept.
    """

    def __init__(self, size: int = 10_000) -> None:
        self._size = size
        self._counts: pl.DataFrame | None = None
        self.error = 0
        """Counts may be short by this much, at most one part in ``size`` of the rows."""

    def add(self, values: pl.Series) -> None:
        """Take in N values, none of them null."""
        fresh = values.rename("value").value_counts(name="rows").with_columns(pl.col("rows").cast(pl.Int64))
        if self._counts is not None:
            fresh = pl.concat([self._counts, fresh]).group_by("value").agg(pl.col("rows").sum())
        if fresh.height > self._size:
            fresh = fresh.sort("rows", descending=True)
            dropped = int(fresh["rows"][self._size])
            self.error += dropped
            fresh = fresh.with_columns(pl.col("rows") - dropped).filter(pl.col("rows") > 0)
        self._counts = fresh

    def most(self, number: int) -> list[tuple[Any, int]]:
        """So many of the most frequent values with their counts, the most frequent first, then by value."""
        if self._counts is None:
            return []
        shown = self._counts.sort(["rows", "value"], descending=[True, False]).head(number)
        return list(zip(shown["value"].to_list(), shown["rows"].to_list(), strict=True))


class LargestByHash:
    """The largest number per hash, for more hashes than fit in memory: what is too much goes to scratch files.

    A context manager; the files are gone when it is left.

    Args:
        rows: Pairs held in memory.
        parts: Files they are spread over; one of them is read back at a time.
    """

    _PAIR = np.dtype([("hash", np.uint64), ("value", np.int64)])

    def __init__(self, rows: int = 1 << 21, parts: int = 64) -> None:
        self._rows = rows
        self._parts = parts
        self._held: list[npt.NDArray[Any]] = []
        self._held_rows = 0
        self._scratch: Scratch | None = None

    def __enter__(self) -> LargestByHash:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scratch is not None:
            self._scratch.close()

    def add(self, hashes: Hashes, values: Ints) -> None:
        """Take in N pairs.

        Raises:
            OSError: there is no room for the scratch files.
        """
        pairs = np.empty(len(hashes), self._PAIR)
        pairs["hash"], pairs["value"] = hashes, values
        self._held.append(_largest(pairs))
        self._held_rows += len(self._held[-1])
        if self._held_rows > self._rows:
            self._held = [_largest(np.concatenate(self._held))]
            self._held_rows = len(self._held[0])
            if self._held_rows > self._rows // 2:
                self._spill()

    def _spill(self) -> None:
        if self._scratch is None:
            self._scratch = Scratch("sketch")
        pairs = self._held[0]  # sorted by hash, so that each part is one slice
        bounds = [int(part * (_SPACE / self._parts)) for part in range(self._parts)]
        starts = np.searchsorted(pairs["hash"], np.array(bounds, np.uint64))
        for part, slice_ in enumerate(np.split(pairs, starts[1:])):
            with Path(self._scratch.path, str(part)).open("ab") as file:
                slice_.tofile(file)
        self._held, self._held_rows = [], 0

    def largest(self) -> Iterator[Ints]:
        """The largest number of every hash, once each, in pieces.

        Raises:
            OSError: a scratch file cannot be read.
        """
        if self._scratch is None:
            if self._held:
                yield _largest(np.concatenate(self._held))["value"]
            return
        if self._held:
            self._held = [_largest(np.concatenate(self._held))]
            self._spill()
        for part in range(self._parts):
            yield self._merged(Path(self._scratch.path, str(part)))["value"]

    def _merged(self, path: Path) -> npt.NDArray[Any]:
        merged = np.empty(0, self._PAIR)
        with path.open("rb") as file:
            while len(piece := np.fromfile(file, self._PAIR, self._rows)):
                merged = _largest(np.concatenate([merged, piece]))
        return merged


def _largest(pairs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One pair per hash, the largest, sorted by hash."""
    ordered = pairs[np.lexsort((pairs["value"], pairs["hash"]))]
    last = np.ones(len(ordered), np.bool_)
    last[:-1] = ordered["hash"][1:] != ordered["hash"][:-1]
    return ordered[last]
