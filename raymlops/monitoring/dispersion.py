"""How much more blocks of the reference differ among each other than independent rows would.

Rows that follow each other are alike: a week of weather is not a random sample of a year. Where tests take rows for
independent, every window then looks drifted. So the reference is cut into blocks in its own order, each is tested
against the rest, and the mean of the statistics over their degrees of freedom is the column's dispersion: 1 for
independent rows, more for alike neighbours. A window's statistic is divided by it and follows Fisher's F law.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from raymlops.monitoring.divergence import Evidence, location_evidence, shape_evidence, share_evidence

__all__ = [
    "BlockNull",
    "block_table",
    "critical_statistic",
    "fit_block_nulls",
    "gather_evidence",
    "p_value",
    "row_blocks",
]

MIN_BLOCK_ROWS = 50
MIN_BLOCKS = 4
MAX_BLOCKS = 64
DOUBT = 0.005
"""Dispersion is believed where independent rows would show as much in fewer than this share of columns."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class BlockNull:
    """Dispersion of one test on one column, measured on blocks of one size.

    Attributes:
        test: The test's name.
        rows: Mean rows of a block.
        blocks: Number of blocks.
        dispersion: Mean statistic per degree of freedom, 1 or more.
        freedom: Degrees of freedom that the statistics' spread shows: fewer than the test's where bins move together.
        by_time: Whether the blocks span as much time as a window does, whatever its rows.
    """

    test: str
    rows: float
    blocks: int
    dispersion: float
    freedom: float
    by_time: bool = False

    def at(self, rows: int, growth: float) -> float:
        """Dispersion of a window of ``rows`` rows; ``growth`` is the power by which it rises with the rows."""
        power = 1.0 if self.by_time else growth
        return 1.0 + (self.dispersion - 1.0) * math.pow(rows / self.rows, power)

    def to_list(self) -> list[Any]:
        """JSON values to rebuild it from, in the order of the attributes."""
        return [self.test, self.rows, self.blocks, self.dispersion, self.freedom, self.by_time]


def gather_evidence(reference: Counts, window: Counts, *, ordered: bool) -> list[Evidence]:
    """All tests of one column that its counts allow."""
    present = reference[:-1], window[:-1]
    found = [shape_evidence(*present)]
    if ordered:
        found.append(location_evidence(reference[:-2], window[:-2]))
    missing = [(int(counts[-1]), int(counts[:-1].sum())) for counts in (reference, window)]
    found.append(share_evidence(missing[0], missing[1]))
    return [evidence for evidence in found if evidence is not None]


def p_value(evidence: Evidence, rows: int, nulls: Sequence[BlockNull]) -> float:
    """The evidence's p-value in a window of ``rows`` rows."""
    law = _law(evidence, rows, nulls)
    scaled = evidence.statistic / (law.dispersion * evidence.freedom)
    if law.blocks is None:
        return float(special.chdtrc(evidence.freedom, scaled * evidence.freedom))
    return float(special.fdtrc(law.freedom, law.freedom * (law.blocks - 1), scaled))


def critical_statistic(evidence: Evidence, rows: int, nulls: Sequence[BlockNull], p: float) -> float:
    """The statistic at which ``p_value`` is ``p``."""
    law = _law(evidence, rows, nulls)
    if law.blocks is None:
        return float(special.chdtri(evidence.freedom, p))
    return float(stats.f.isf(p, law.freedom, law.freedom * (law.blocks - 1))) * law.dispersion * evidence.freedom


@dataclass(frozen=True)
class _Law:
    """Law of a statistic without drift; ``blocks`` is ``None`` where rows are taken as independent."""

    dispersion: float = 1.0
    freedom: float = 1.0
    blocks: int | None = None


def _law(evidence: Evidence, rows: int, nulls: Sequence[BlockNull]) -> _Law:
    mine = sorted((null for null in nulls if null.test == evidence.test), key=lambda null: null.rows)
    if not mine:
        return _Law()
    chosen = next((null for null in mine if null.rows >= rows), mine[-1])
    growth = 1.0
    if chosen.dispersion <= 1:
        # Few long blocks show little; what many short ones have shown holds for longer ones at least.
        shown = [null for null in mine if null.rows < chosen.rows and null.dispersion > 1]
        if not shown:
            return _Law()
        chosen, growth = shown[-1], 0.0
    elif rows <= chosen.rows:
        growth = 0.0
    elif len(mine) > 1 and mine[-2].dispersion > 1:
        ratio = (mine[-1].dispersion - 1) / (mine[-2].dispersion - 1)
        growth = float(np.clip(math.log(ratio) / math.log(mine[-1].rows / mine[-2].rows), 0.0, 1.0))
    return _Law(chosen.at(rows, growth), min(chosen.freedom, evidence.freedom), chosen.blocks)


def row_blocks(rows: int) -> list[NDArray[np.intp]]:
    """Block number of each row, for block lengths from an eighth of the rows downwards."""
    numbers, blocks = [], 8
    while blocks <= MAX_BLOCKS and rows // blocks >= MIN_BLOCK_ROWS:
        numbers.append((np.arange(rows) * blocks // rows).astype(np.intp))
        blocks *= 2
    return numbers


def block_table(slots: NDArray[np.intp], size: int, blocks: NDArray[np.intp]) -> Counts:
    """Counts per block, one row each; blocks of fewer than ``MIN_BLOCK_ROWS`` rows are left out.

    Args:
        slots: Slot of each of the N rows.
        size: Length of the column's counts.
        blocks: Block number of each row, -1 for rows that belong to no whole block.
    """
    number = int(blocks.max(initial=-1)) + 1
    inside = blocks >= 0
    table = np.bincount(blocks[inside] * size + slots[inside], minlength=number * size).reshape(number, size)
    kept: Counts = table[table.sum(axis=1) >= MIN_BLOCK_ROWS].astype(np.int64)
    return kept


def fit_block_nulls(table: Counts, *, ordered: bool, by_time: bool) -> list[BlockNull]:
    """Dispersion of each test on one column.

    Args:
        table: Counts per block.
        ordered: Whether the column's bins are ordered.
        by_time: Whether blocks were cut by time.

    Returns:
        One entry per test that enough blocks allow.
    """
    if len(table) < MIN_BLOCKS:
        return []
    whole = table.sum(axis=0)
    by_test: dict[str, list[Evidence]] = {}
    for block in table:
        for evidence in gather_evidence(whole - block, block, ordered=ordered):
            by_test.setdefault(evidence.test, []).append(evidence)
    rows = float(table.sum() / len(table))
    return [
        _block_null(test, rows, found, by_time=by_time) for test, found in by_test.items() if len(found) >= MIN_BLOCKS
    ]


def _block_null(test: str, rows: float, found: Sequence[Evidence], *, by_time: bool) -> BlockNull:
    statistics = np.array([evidence.statistic for evidence in found])
    freedom = sum(evidence.freedom for evidence in found)
    total = float(statistics.sum())
    if special.chdtrc(freedom, total) >= DOUBT:
        return BlockNull(test, rows, len(found), 1.0, freedom / len(found), by_time)
    # Satterthwaite: the chi-square law with this mean and this spread has so many degrees of freedom.
    shown = 2 * float(statistics.mean()) ** 2 / max(float(statistics.var(ddof=1)), 1e-12)
    shown = min(max(shown, 1.0), freedom / len(found))
    return BlockNull(test, rows, len(found), max(1.0, total / freedom), shown, by_time)
