"""How much more stretches of the reference differ among each other than independent rows would.

Rows that follow each other are alike: a week of weather is not a random sample of a year. Where tests take rows for
independent, every window then looks drifted. So the reference is cut into stretches of many lengths in its own order,
each is tested against the rest, and the mean of the statistics over their degrees of freedom is the column's
dispersion at that length: 1 for independent rows, more for alike neighbours. A window's statistic is divided by the
dispersion of stretches about as long, and follows Fisher's F law, for the dispersion is an estimate itself.

Under dispersion a shape statistic is a sum of chi-squares of unequal weight. Its tail lies below that of equal
weights which are all as heavy as the heaviest (Szekely and Bakirov 2003), so the law has as many degrees of freedom as
the heaviest eigenvalue of the stretches' residuals goes into their sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from raymlops.monitoring.profiles.blocks import MIN_BLOCKS
from raymlops.monitoring.profiles.divergence import (
    Evidence,
    location_evidence,
    pool,
    power_divergence,
    shape_evidence,
    share_evidence,
)

__all__ = ["BlockNull", "critical_statistic", "fit_block_nulls", "gather_evidence", "p_value"]

DOUBT = 0.002
"""Dispersion is believed where independent rows would show as much in fewer than this share of columns."""
NEAR = 2.0
"""Stretches up to this factor shorter or longer than a window stand for it."""

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BlockNull:
    """Dispersion of one test on one column, measured on stretches of one length.

    Attributes:
        test: The test's name.
        rows: Mean rows of a stretch.
        blocks: Number of stretches that tell independently of each other.
        dispersion: Mean statistic per degree of freedom; exactly 1 where it is not believed to be more.
        freedom: Degrees of freedom of the law that bounds the statistic's tail.
        by_time: Whether the stretches span as much time as a window does, whatever its rows.
    """

    test: str
    rows: float
    blocks: float
    dispersion: float
    freedom: float
    by_time: bool = False

    def at(self, rows: int, growth: float) -> float:
        """Dispersion of a window of ``rows`` rows; ``growth`` is the power by which it rises with the rows."""
        power = 1.0 if self.by_time else growth
        return 1.0 + (self.dispersion - 1.0) * math.pow(rows / self.rows, power)

    @property
    def believed(self) -> bool:
        """Whether independent rows would hardly show as much."""
        return self.dispersion > 1.0

    @property
    def hidden(self) -> float:
        """The largest dispersion that so few stretches would not have shown."""
        together = self.freedom * self.blocks
        return float(special.chdtri(together, DOUBT)) / together

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
    if law.blocks is None:
        return float(special.chdtrc(evidence.freedom, evidence.statistic))
    scaled = evidence.statistic / (law.dispersion * evidence.freedom)
    return float(special.fdtrc(law.freedom, law.doubt, scaled))


def critical_statistic(evidence: Evidence, rows: int, nulls: Sequence[BlockNull], p: float) -> float:
    """The statistic at which ``p_value`` is ``p``."""
    law = _law(evidence, rows, nulls)
    if law.blocks is None:
        return float(special.chdtri(evidence.freedom, p))
    beta = float(special.betaincinv(law.doubt / 2, law.freedom / 2, p))  # the F law's own inverse loses small p
    return law.doubt * (1 - beta) / (law.freedom * beta) * law.dispersion * evidence.freedom


@dataclass(frozen=True)
class _Law:
    """Law of a statistic without drift; ``blocks`` is ``None`` where rows are taken as independent."""

    dispersion: float = 1.0
    freedom: float = 1.0
    blocks: float | None = None

    @property
    def doubt(self) -> float:
        """Degrees of freedom that the dispersion itself was estimated with."""
        return self.freedom * max((self.blocks or 0.0) - 1.0, 1.0)


def _law(evidence: Evidence, rows: int, nulls: Sequence[BlockNull]) -> _Law:
    mine = sorted((null for null in nulls if null.test == evidence.test), key=lambda null: null.rows)
    shown = [null for null in mine if null.believed]
    if not shown:
        return _Law()
    if shown[0].by_time:
        return _bounding(shown, [shown[0].at(rows, 1.0)], evidence)
    near = [null for null in mine if rows / NEAR <= null.rows <= rows * NEAR] or [
        mine[0] if rows < mine[0].rows else mine[-1]
    ]
    believed = [null for null in near if null.believed]
    if not believed:
        # Few long stretches show little: the dispersion of many short ones is taken for longer ones as well.
        shorter = [null for null in shown if null.rows < rows]
        if not shorter:
            return _Law()
        hidden = max(null.hidden for null in near)
        return _bounding([shorter[-1]], [min(shorter[-1].dispersion, hidden)], evidence)
    growth = _growth(mine) if rows > mine[-1].rows else 0.0
    return _bounding(believed, [null.at(max(rows, int(null.rows)), growth) for null in believed], evidence)


def _bounding(nulls: Sequence[BlockNull], dispersions: Iterable[float], evidence: Evidence) -> _Law:
    """The law that no single one of them has a heavier tail than."""
    freedom = min(*(null.freedom for null in nulls), evidence.freedom)
    return _Law(max(dispersions), freedom, min(null.blocks for null in nulls))


def _growth(mine: Sequence[BlockNull]) -> float:
    """Power by which the dispersion rose over the last doubling of the length, 0 to 1."""
    last = mine[-1]
    half = [null for null in mine if null.believed and null.rows <= 0.6 * last.rows]
    if not half or not last.believed:
        return 1.0 if last.believed else 0.0
    power = math.log((last.dispersion - 1) / (half[-1].dispersion - 1)) / math.log(last.rows / half[-1].rows)
    return min(max(power, 0.0), 1.0)


def fit_block_nulls(
    tables: Sequence[Counts], whole: Counts, *, ordered: bool, by_time: bool = False
) -> list[BlockNull]:
    """Dispersion of each test on one column.

    Args:
        tables: Per length, counts of each stretch.
        whole: Counts of all rows.
        ordered: Whether the column's bins are ordered.
        by_time: Whether stretches were cut by time.

    Returns:
        One entry per length and test, where enough stretches allow it.
    """
    found: dict[str, list[BlockNull]] = {}
    for table in tables:
        if not len(table):
            continue
        rows = float(table.sum(axis=1).mean())
        blocks = float(whole.sum()) / rows
        if blocks < MIN_BLOCKS - 0.2:
            continue
        tests = [("shape", _shape(table[:, :-1], whole[:-1]))]
        if ordered:
            tests.append(("location", _location(table[:, :-2], whole[:-2])))
        tests.append(("missing", _share(table[:, -1], table[:, :-1].sum(axis=1), whole)))
        for test, measured in tests:
            if measured is not None:
                found.setdefault(test, []).append(_block_null(test, rows, blocks, *measured, by_time=by_time))
    return [null for nulls in found.values() for null in _independent(nulls)]


def _block_null(
    test: str, rows: float, blocks: float, mean: float, of: float, freedom: float, *, by_time: bool
) -> BlockNull:
    """Judge a mean statistic with ``of`` degrees of freedom over ``blocks`` stretches."""
    if special.chdtrc(of * blocks, mean * blocks) >= DOUBT:
        return BlockNull(test, rows, blocks, 1.0, of, by_time)
    return BlockNull(test, rows, blocks, max(1.0 + 1e-9, mean / of), freedom, by_time)


def _independent(nulls: Sequence[BlockNull]) -> list[BlockNull]:
    """Stretches that are alike among each other tell less: longer ones then disperse more than they do."""
    most, counted = 1.0, []
    for null in sorted(nulls, key=lambda null: -null.rows):
        most = max(most, null.dispersion)
        counted.append(replace(null, blocks=max(2.0, null.blocks * null.dispersion / most)))
    return counted[::-1]


def _shape(table: Counts, whole: Counts) -> tuple[float, float, float] | None:
    """Mean statistic of the stretches against the rest, its degrees of freedom, and those of its bounding law."""
    sums = table.sum(axis=1, keepdims=True)
    table, sums = table[sums[:, 0] > 0], sums[sums[:, 0] > 0]
    if len(table) < MIN_BLOCKS:
        return None
    total = whole.sum()
    typical = np.rint(whole * (sums.mean() / total)).astype(np.int64)
    groups = pool(whole - typical, typical)
    size = int(groups[-1]) + 1
    if size < 2 or total <= sums.max():
        return None
    member = np.eye(size)[groups]
    share = whole @ member / total
    inside, expected = table @ member, sums * share
    outside, rest = whole @ member - inside, (total - sums) * share
    statistic = power_divergence(inside, expected) + power_divergence(outside, rest)
    residual = (inside - expected) / np.sqrt(expected) * np.sqrt(total / (total - sums))
    values = np.linalg.eigvalsh(residual.T @ residual / len(table))
    freedom = float(values.sum() / values[-1]) if values[-1] > 0 else size - 1.0
    return float(statistic.mean()), size - 1.0, min(freedom, size - 1.0)


def _location(table: Counts, whole: Counts) -> tuple[float, float, float] | None:
    sums = table.sum(axis=1)
    table, sums = table[sums > 0], sums[sums > 0]
    total = int(whole.sum())
    if len(table) < MIN_BLOCKS or total <= sums.max():
        return None
    ranks = np.cumsum(whole) - whole / 2
    centre = ranks @ whole / total
    spread = (ranks - centre) ** 2 @ whole / (total - 1)
    if spread <= 0:
        return None
    shift = table @ ranks / sums - centre
    statistic = shift**2 / (spread * (total - sums) / (sums * total))
    return float(statistic.mean()), 1.0, 1.0


def _share(having: Counts, lacking: Counts, whole: Counts) -> tuple[float, float, float] | None:
    total, held = int(whole.sum()), int(whole[-1])
    sums = having + lacking
    if len(sums) < MIN_BLOCKS or held in (0, total) or total <= sums.max():
        return None
    share = held / total
    statistic = (having - sums * share) ** 2 / (sums * share * (1 - share)) * (total / (total - sums))
    return float(statistic.mean()), 1.0, 1.0
