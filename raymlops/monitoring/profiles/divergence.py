"""Statistics on two vectors of counts, and their laws where nothing has changed.

Each ``Evidence`` holds a chi-square-like statistic and the effect on one scale, the Jensen-Shannon distance (natural
logarithm, 0 to 0.83). Statistics are those of a two-sample table given its margins, so that the sizes of *both* samples
count; bins are pooled until each expects ``MIN_EXPECTED`` rows in the smaller sample. Of the power divergences the
Cressie-Read one keeps its chi-square law at such counts; the Jensen-Shannon statistic does not (its tail at 1e-4 is
held 3 to 20 times too often at 5 to 10 expected rows, measured), so it serves as effect size only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = [
    "Evidence",
    "js_distance",
    "location_evidence",
    "pool",
    "power_divergence",
    "shape_evidence",
    "share_evidence",
]

MIN_EXPECTED = 5.0
CRESSIE_READ = 2 / 3

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """The result of one test of one column.

    Attributes:
        test: ``shape``, ``location`` or ``missing``.
        statistic: Chi-square with ``freedom`` degrees of freedom where nothing has changed and rows are independent.
        effect: Jensen-Shannon distance between the two samples.
    """

    test: str
    statistic: float
    freedom: int
    effect: float


def js_distance(reference: NDArray[np.int64], window: NDArray[np.int64]) -> float:
    """Jensen-Shannon distance of two vectors of counts, natural logarithm; 0 where one is empty."""
    if not reference.sum() or not window.sum():
        return 0.0
    p, q = reference / reference.sum(), window / window.sum()
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return math.sqrt(max(0.0, divergence))


def _relative_entropy(p: Floats, q: Floats) -> float:
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / q[seen])))


def pool(reference: NDArray[np.int64], window: NDArray[np.int64]) -> NDArray[np.intp]:
    """Group of each bin, neighbours merged until every group expects ``MIN_EXPECTED`` rows in the smaller sample.

    The grouping depends on the sum of the two samples alone, which keeps the tests' laws.
    """
    together = reference + window
    smaller = min(reference.sum(), window.sum()) / max(1, together.sum())
    groups = np.zeros(together.size, dtype=np.intp)
    expected = (together * smaller).tolist()
    group, held, left = 0, 0.0, sum(expected)
    for index, count in enumerate(expected):
        if held >= MIN_EXPECTED and left >= MIN_EXPECTED:
            group, held = group + 1, 0.0
        groups[index] = group
        held, left = held + count, left - count
    return groups


def shape_evidence(reference: NDArray[np.int64], window: NDArray[np.int64]) -> Evidence | None:
    """Any change of the distribution over the bins; ``None`` where fewer than two groups of bins can be told apart."""
    groups = pool(reference, window)
    size = int(groups[-1]) + 1 if groups.size else 0
    if size < 2 or not reference.sum() or not window.sum():
        return None
    r = np.bincount(groups, weights=reference, minlength=size)
    w = np.bincount(groups, weights=window, minlength=size)
    together = (r + w) / (r + w).sum()
    statistic = float(power_divergence(r, r.sum() * together) + power_divergence(w, w.sum() * together))
    return Evidence("shape", statistic, size - 1, js_distance(reference, window))


def power_divergence(observed: NDArray[np.float64 | np.int64], expected: Floats) -> Floats:
    """Cressie and Read's statistic (1984) of observed against expected counts, over the last axis."""
    ratio = (observed / expected) ** CRESSIE_READ - 1
    return np.asarray(2 / (CRESSIE_READ * (CRESSIE_READ + 1)) * np.sum(observed * ratio, axis=-1))


def location_evidence(reference: NDArray[np.int64], window: NDArray[np.int64]) -> Evidence | None:
    """A shift up or down the ordered bins: the Mann-Whitney statistic with ties, the linear part of the shape's."""
    n, m = int(reference.sum()), int(window.sum())
    together = (reference + window).astype(np.float64)
    ranks = np.cumsum(together) - together / 2
    if not n or not m or n + m < 3:
        return None
    centre = float(ranks @ together) / (n + m)
    spread = float((ranks - centre) ** 2 @ together) / (n + m - 1)
    if spread <= 0:
        return None
    shift = float(ranks @ window) / m - centre
    statistic = shift**2 / (spread * n / (m * (n + m)))
    return Evidence("location", statistic, 1, math.sqrt(statistic * (n + m) / (8 * n * m)))


def share_evidence(reference: tuple[int, int], window: tuple[int, int]) -> Evidence | None:
    """A change of a share, from ``(with, without)`` counts: exact where a cell expects few rows."""
    table = np.array([reference, window], dtype=np.int64)
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    if not rows.all() or not columns.all():
        return None
    expected = np.outer(rows, columns) / table.sum()
    effect = js_distance(table[0], table[1])
    if expected.min() >= MIN_EXPECTED:
        statistic = float(power_divergence(table, expected).sum())
    else:
        from scipy.stats import hypergeom

        law = int(table.sum()), int(columns[0]), int(rows[1])
        tail = min(hypergeom.cdf(window[0], *law), hypergeom.sf(window[0] - 1, *law))
        statistic = float(special.chdtri(1, min(1.0, 2 * float(tail))))
    return Evidence("missing", statistic, 1, effect)
