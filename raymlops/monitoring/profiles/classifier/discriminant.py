"""Tells rows from a sample's: a ridge discriminant, judged by the area under the curve on rows it was not fitted on.

With fewer numbers per row than rows, covariances are summed up per fold. With more, as wide tables have, the same
direction is found by the rows' inner products, so that time and memory grow with the width, and not with its cube and
its square.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sides", "sides_of"]

FOLDS = 5
RIDGE = 0.1
WIDE = 1000
"""Numbers per row from which on inner products are less work."""

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


class Sides(Protocol):
    """A sample that rows are told from. Immutable."""

    def tell(self, rows: Floats) -> tuple[float, Floats]:
        """Area under the curve of rows against the sample's.

        Each row is scored by a discriminant that has not seen it or its like: rows are left out in runs, those of the
        sample by whole stretches, so that no neighbour of a scored row is fitted on.

        Args:
            rows: N rows of P numbers.

        Returns:
            The area, and per number its share in the distance between the two sides' scores.
        """
        ...

    def tell_stretch(self, number: int, picked: Indices) -> float:
        """Area under the curve of rows of one stretch of the sample against all other stretches.

        Args:
            number: Of the stretch.
            picked: Places of its rows that are told.
        """
        ...


def sides_of(sample: Floats, stretch: Indices) -> Sides:
    """A sample of rows, and the number of the stretch of each."""
    return _Wide(sample, stretch) if sample.shape[1] >= WIDE else _Narrow(sample, stretch)


class _Narrow:
    """``Sides`` by covariances."""

    def __init__(self, sample: Floats, stretch: Indices) -> None:
        self._sample = sample
        self._stretch = stretch

    def tell(self, rows: Floats) -> tuple[float, Floats]:
        return _tell_apart(rows, self._sample, self._stretch)

    def tell_stretch(self, number: int, picked: Indices) -> float:
        others = self._stretch != number
        area, _ = _tell_apart(self._sample[picked], self._sample[others], self._stretch[others])
        return area


class _Wide:
    """``Sides`` by inner products of the rows; a stretch is told in the scale of the whole sample."""

    def __init__(self, sample: Floats, stretch: Indices) -> None:
        self._centre, scale = sample.mean(axis=0), sample.std(axis=0)
        self._scale = np.where(scale > 1e-9, scale, 1.0)
        self._sample = self._scaled(sample)
        self._stretch = stretch
        self._products = self._sample @ self._sample.T

    def tell(self, rows: Floats) -> tuple[float, Floats]:
        size = len(rows)
        scaled = self._scaled(rows)
        products = np.empty((size + len(self._sample),) * 2)
        products[:size, :size] = scaled @ scaled.T
        products[:size, size:] = scaled @ self._sample.T
        products[size:, :size] = products[:size, size:].T
        products[size:, size:] = self._products
        places = np.arange(len(products))
        return self._told(products, np.vstack([scaled, self._sample]), places[:size], places[size:])

    def tell_stretch(self, number: int, picked: Indices) -> float:
        area, _ = self._told(self._products, self._sample, picked, np.flatnonzero(self._stretch != number))
        return area

    def _scaled(self, rows: Floats) -> Floats:
        scaled: Floats = rows - self._centre
        scaled /= self._scale
        return scaled

    def _told(self, products: Floats, rows: Floats, own: Indices, others: Indices) -> tuple[float, Floats]:
        """As ``tell``, of rows whose inner products are known; the others are the sample's, or some of them."""
        own_fold, other_fold = _runs(len(own)), self._stretch[others - (len(rows) - len(self._sample))] % FOLDS
        scores, other_scores = np.zeros(len(own)), np.zeros(len(others))
        shares = np.zeros(rows.shape[1])
        for number in range(FOLDS):
            held, against = own_fold == number, other_fold == number
            weights = _direction(products, rows, own[~held], others[~against])
            scored = rows @ weights
            scored -= scored[others].mean()
            scores[held], other_scores[against] = scored[own[held]], scored[others[against]]
            if held.any() and against.any():
                shares += weights * (_mean(rows, own[held]) - _mean(rows, others[against]))
        return _area(scores, other_scores), shares


def _direction(products: Floats, rows: Floats, own: Indices, others: Indices) -> Floats:
    """Fisher's direction as in ``_discriminant``, found as a weighted sum of rows.

    C holds the rows of both sides, each less its side's mean, weighed so that C'C is the pooled covariance; d is the
    distance of the means, and n the ridge: (C'C + n)^-1 d = (d - C'(CC' + n)^-1 Cd) / n.
    """
    from scipy.linalg import solve

    fitted = np.concatenate([own, others])
    sides = slice(0, len(own)), slice(len(own), None)
    distance = np.concatenate([np.full(len(own), 1 / len(own)), np.full(len(others), -1 / len(others))])
    weight = 1 / np.sqrt(2 * np.concatenate([np.full(len(own), len(own)), np.full(len(others), len(others))]))
    inner = products[np.ix_(fitted, fitted)]
    along = inner @ distance
    for side in sides:
        along[side] -= along[side].mean()
        inner[side] -= inner[side].mean(axis=0)
        inner[:, side] -= inner[:, side].mean(axis=1, keepdims=True)
    inner *= weight[:, np.newaxis]
    inner *= weight
    noise = _noise(rows.shape[1], len(own))
    inner.flat[:: len(inner) + 1] += noise
    found = weight * solve(inner, weight * along, assume_a="pos", overwrite_a=True, check_finite=False)
    for side in sides:
        found[side] -= found[side].mean()
    share = np.zeros(len(rows))
    share[fitted] = (distance - found) / noise
    return share @ rows


def _tell_apart(rows: Floats, others: Floats, stretch: Indices) -> tuple[float, Floats]:
    """As ``Sides.tell``."""
    own_fold = _runs(len(rows))
    other_fold = stretch % FOLDS
    centre, scale = others.mean(axis=0), others.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    rows, others = (rows - centre) / scale, (others - centre) / scale
    own_sums = [_moments(rows[own_fold == number]) for number in range(FOLDS)]
    other_sums = [_moments(others[other_fold == number]) for number in range(FOLDS)]
    scores, other_scores = np.zeros(len(rows)), np.zeros(len(others))
    shares = np.zeros(rows.shape[1])
    for number in range(FOLDS):
        mine = _total(each for index, each in enumerate(own_sums) if index != number)
        theirs = _total(each for index, each in enumerate(other_sums) if index != number)
        weights = _discriminant(mine, theirs)
        held, against = own_fold == number, other_fold == number
        scores[held], other_scores[against] = rows[held] @ weights, others[against] @ weights
        if held.any() and against.any():
            shares += weights * (rows[held].mean(axis=0) - others[against].mean(axis=0))
    return _area(scores, other_scores), shares


def _runs(rows: int) -> Indices:
    """Fold of each of so many rows: neighbours stay together."""
    return np.arange(rows) * FOLDS // rows


def _area(scores: Floats, others: Floats) -> float:
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([scores, others]))
    return float((ranks[: len(scores)].sum() - len(scores) * (len(scores) + 1) / 2) / (len(scores) * len(others)))


def _mean(rows: Floats, places: Indices) -> Floats:
    share = np.zeros(len(rows))
    share[places] = 1 / len(places)
    return share @ rows


@dataclass(frozen=True)
class _Moments:
    rows: int
    total: Floats
    squares: Floats


def _moments(rows: Floats) -> _Moments:
    return _Moments(len(rows), rows.sum(axis=0), rows.T @ rows)


def _total(parts: Iterable[_Moments]) -> _Moments:
    held = list(parts)
    rows = sum(part.rows for part in held)
    return _Moments(
        rows, np.sum([part.total for part in held], axis=0), np.sum([part.squares for part in held], axis=0)
    )


def _discriminant(rows: _Moments, others: _Moments) -> Floats:
    """Fisher's direction with a ridge: the pooled covariance, both sides alike, drawn towards the identity."""
    mean, other_mean = rows.total / rows.rows, others.total / others.rows
    spread = (
        rows.squares / rows.rows
        - np.outer(mean, mean)
        + others.squares / others.rows
        - np.outer(other_mean, other_mean)
    )
    size = len(mean)
    weights = np.linalg.solve(spread / 2 + _noise(size, rows.rows) * np.eye(size), mean - other_mean)
    return np.asarray(weights, dtype=np.float64)


def _noise(size: int, rows: int) -> float:
    """The ridge for so many numbers, of which the smaller side has so many rows."""
    return RIDGE + size / rows
