"""Confidence intervals of means by resampling blocks of rows.

Rows of one day share their weather and their news: resampling them one by one would claim more certainty than there
is. So whole blocks of time are drawn. Where blocks are too few, rows are drawn, in random groups of equal size: the
mean over groups of independent rows varies as the mean over the rows does, at a fraction of the draws.
"""

from __future__ import annotations

import numpy as np

from raymlops.errors import NotEnoughRows
from raymlops.experiments.task import FloatArray, IntArray
from raymlops.records.record import Record

__all__ = ["MIN_BLOCKS", "Interval", "Resampling", "mean_intervals", "row_blocks", "time_blocks"]

MIN_BLOCKS = 10
"""With fewer blocks of time, intervals are drawn over rows."""
_MAX_GROUPS = 2000
_HOUR_US = 3_600_000_000


class Resampling(Record):
    """How intervals are drawn."""

    rounds: int = 1000
    confidence: float = 0.95
    block_hours: float = 24.0
    """Length of the blocks of time; 0 draws rows."""
    seed: int = 0


class Interval(Record):
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float


def time_blocks(times_us: IntArray, resampling: Resampling) -> IntArray:
    """A block number per row: 0, 1, 2 ... in order of time, or random groups where blocks of time are too few.

    Args:
        times_us: Microseconds since 1970, any order.
        resampling: Length of blocks and seed.
    """
    if resampling.block_hours > 0 and len(times_us):
        raw = (times_us - times_us.min()) // int(resampling.block_hours * _HOUR_US)
        blocks = np.unique(raw, return_inverse=True)[1].astype(np.int64)
        if blocks.max() + 1 >= MIN_BLOCKS:
            return blocks
    return row_blocks(len(times_us), resampling.seed)


def row_blocks(rows: int, seed: int) -> IntArray:
    """Random groups of rows, sizes differing by one at most; every row its own group where rows are few."""
    groups = min(rows, _MAX_GROUPS)
    if groups == rows:
        return np.arange(rows, dtype=np.int64)
    return np.random.default_rng(seed).permutation(np.arange(rows, dtype=np.int64) % groups)


def mean_intervals(terms: dict[str, FloatArray], blocks: IntArray, resampling: Resampling) -> dict[str, Interval]:
    """Percentile intervals of the means of ``terms``, all over the same draws.

    Args:
        terms: Name -> a value per row.
        blocks: Block number per row, 0 to the number of blocks - 1.
        resampling: Rounds, confidence and seed.

    Raises:
        NotEnoughRows: There is no row.
    """
    if len(blocks) == 0:
        raise NotEnoughRows("an interval needs at least one row, got 0")
    sizes = np.bincount(blocks).astype(np.float64)
    count = len(sizes)
    draws = np.random.default_rng(resampling.seed).multinomial(count, np.full(count, 1.0 / count), resampling.rounds)
    weights = draws.astype(np.float64)
    totals = weights @ sizes
    tail = (1.0 - resampling.confidence) / 2.0
    result = {}
    for name, values in terms.items():
        means = (weights @ np.bincount(blocks, weights=values, minlength=count)) / totals
        low, high = np.quantile(means, [tail, 1.0 - tail])
        result[name] = Interval(mean=float(values.mean()), low=float(low), high=float(high))
    return result
