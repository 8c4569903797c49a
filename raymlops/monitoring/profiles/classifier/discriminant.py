"""Tells rows from a sample's: a ridge discriminant, judged by the area under the curve on rows it was not fitted on.

Fisher's direction between the two sides, with the pooled covariance of both sides alike drawn towards the identity. It
is found by conjugate gradients, so that time and memory grow with the width of a table, and not with its cube and its
square.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sides"]

FOLDS = 5
RIDGE = 0.1
TOLERANCE = 1e-3
"""Part of the residual that is left in a direction."""
MOST_ROUNDS = 100

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Indices = NDArray[np.intp]


class Sides:
    """A sample that rows are told from. Immutable.

    Args:
        sample: N rows of P numbers.
        stretch: Number of the stretch of each.
    """

    def __init__(self, sample: Singles, stretch: Indices) -> None:
        self._centre, scale = sample.mean(axis=0, dtype=float), sample.std(axis=0, dtype=float)
        self._scale = np.where(scale > 1e-9, scale, 1.0)
        self._sample = self._scaled(sample)
        self._stretch = stretch

    def tell(self, rows: Singles) -> tuple[float, Floats]:
        """Area under the curve of rows against the sample's.

        Each row is scored by a discriminant that has not seen it or its like: rows are left out in runs, those of the
        sample by whole stretches, so that no neighbour of a scored row is fitted on.

        Args:
            rows: N rows of P numbers.

        Returns:
            The area, and per number its share in the distance between the two sides' scores.
        """
        size = len(rows)
        places = np.arange(size + len(self._sample))
        both = np.concatenate([self._scaled(rows), self._sample])
        [told] = _told(both, [(places[:size], places[size:])], np.concatenate([np.zeros(size, np.intp), self._stretch]))
        return told

    def tell_stretches(self, picked: Sequence[Indices]) -> list[float]:
        """Area under the curve of rows of each stretch of the sample against all other stretches.

        Args:
            picked: For each stretch, places of its rows that are told.
        """
        pairs = [(own, np.flatnonzero(self._stretch != number)) for number, own in enumerate(picked)]
        return [area for area, _ in _told(self._sample, pairs, self._stretch)]

    def _scaled(self, rows: Singles) -> Singles:
        scaled: Singles = rows - self._centre.astype(np.float32)
        scaled /= self._scale.astype(np.float32)
        return scaled


def _told(rows: Singles, pairs: Sequence[tuple[Indices, Indices]], stretch: Indices) -> list[tuple[float, Floats]]:
    """As ``Sides.tell``, of several pairs of sides at once.

    Args:
        rows: All rows.
        pairs: Places of a pair's own rows, and of the sample's that they are told from.
        stretch: Stretch of each of the sample's rows.
    """
    folds = [(_runs(len(own)), stretch[others] % FOLDS) for own, others in pairs]
    shape = len(rows), len(pairs) * FOLDS
    own_fitted, others_fitted, own_held, others_held = (np.zeros(shape, np.float32) for _ in range(4))
    for pair, ((own, others), (own_fold, other_fold)) in enumerate(zip(pairs, folds, strict=True)):
        for number in range(FOLDS):
            column, held, against = pair * FOLDS + number, own_fold == number, other_fold == number
            for into, places in (
                (own_fitted, own[~held]),
                (others_fitted, others[~against]),
                (own_held, own[held]),
                (others_held, others[against]),
            ):
                into[places, column] = 1 / max(len(places), 1)
    noise = np.array([_noise(rows.shape[1], int(each)) for each in np.count_nonzero(own_fitted, axis=0)], np.float32)
    weights = _directions(rows, own_fitted, others_fitted, noise)
    scored = rows @ weights
    both = own_held.any(axis=0) & others_held.any(axis=0)
    shares = weights * (rows.T @ (own_held - others_held)) * both
    found = []
    for pair, ((own, others), (own_fold, other_fold)) in enumerate(zip(pairs, folds, strict=True)):
        columns = slice(pair * FOLDS, (pair + 1) * FOLDS)
        mine = scored[:, columns] - scored[others, columns].mean(axis=0)
        found.append(
            (_area(mine[own, own_fold], mine[others, other_fold]), shares[:, columns].sum(axis=1, dtype=float))
        )
    return found


def _directions(rows: Singles, own: Singles, others: Singles, noise: Singles) -> Singles:
    """Fisher's directions one for each column of weights.

    The ridge keeps all eigenvalues away from zero, and is the larger the fewer rows there are for a number, so a few
    rounds come close: what is left of the residual moves no rank that counts. A round costs the rows twice.

    Args:
        rows: N rows of P numbers.
        own: Weights of the rows of one side, 0 for all others; N by S, each column sums to 1.
        others: The same of the other side.
        noise: The ridge of each.
    """

    def spread(directions: Singles) -> Singles:
        along = rows @ directions
        pooled = sum(side * (along - (side * along).sum(axis=0)) for side in (own, others))
        product: Singles = rows.T @ (pooled / 2) + noise * directions
        return product

    left = rows.T @ (own - others)
    found, step, squared = np.zeros_like(left), left.copy(), (left**2).sum(axis=0)
    enough = squared * TOLERANCE**2
    for _ in range(MOST_ROUNDS):
        if (squared <= enough).all():
            break
        towards = spread(step)
        length = squared / np.maximum((step * towards).sum(axis=0), np.finfo(np.float32).tiny)
        found += length * step
        left -= length * towards
        before, squared = squared, (left**2).sum(axis=0)
        step = left + squared / np.maximum(before, np.finfo(np.float32).tiny) * step
    return found


def _runs(rows: int) -> Indices:
    """Fold of each of so many rows: neighbours stay together."""
    return np.arange(rows) * FOLDS // rows


def _area(scores: Floats, others: Floats) -> float:
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([scores, others]))
    return float((ranks[: len(scores)].sum() - len(scores) * (len(scores) + 1) / 2) / (len(scores) * len(others)))


def _noise(size: int, rows: int) -> float:
    """The ridge for so many numbers, of which the smaller side has so many rows."""
    return RIDGE + size / rows
