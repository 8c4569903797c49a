"""How much of a label a single column tells, on rows that were not looked at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["TELLS_ALL", "told_share"]

_Floats = npt.NDArray[np.float64]

_MOST_ROWS = 20_000
_LEAST_BINS, _MOST_BINS, _ROWS_PER_BIN = 8, 128, 20
_PRIOR_ROWS = 1.0
"""A bin counts so many rows of the whole beside its own."""


TELLS_ALL = {"classifier": 0.9, "regressor": 0.98}
"""Kind of task -> share of the label that a column must not tell alone.

A column of the past that is as good is rare; one that was filled in when the label was known does this.
"""


def told_share(values: _Floats, labels: _Floats, *, classes: int) -> float:
    """The share of a label's deviance (classes) or variance (numbers, by rank) that one column tells.

    Half of the rows are cut into bins of the column, in which the label is averaged; the others judge. A missing value
    has a bin of its own, so that a column which is filled in for one class alone shows.

    Args:
        values: Of the column; NaN is missing. Categories are numbers.
        labels: Class numbers, or values.
        classes: How many classes there are; 0: the label is a number.

    Returns:
        Up to 1; 0 and less where it tells nothing.
    """
    step = max(1, len(values) // _MOST_ROWS)
    chosen = np.random.default_rng(0).permutation(len(values))[::step]
    values, labels = values[chosen], labels[chosen]
    half = len(values) // 2
    bins = _binned(values, values[:half])
    if classes == 0:
        labels = np.argsort(np.argsort(labels, kind="stable"), kind="stable") / len(labels)
        told = labels[:, None]
    else:
        told = np.eye(classes)[labels.astype(np.int64)]
    prior = told[:half].mean(axis=0)
    sums = np.zeros((int(bins.max()) + 1, told.shape[1]))
    np.add.at(sums, bins[:half], told[:half])
    rows = np.bincount(bins[:half], minlength=len(sums))[:, None]
    guesses = ((sums + _PRIOR_ROWS * prior) / (rows + _PRIOR_ROWS))[bins[half:]]
    return 1.0 - _loss(guesses, told[half:], classes) / max(_loss(prior[None, :], told[half:], classes), 1e-12)


def _loss(guesses: _Floats, told: _Floats, classes: int) -> float:
    if classes == 0:
        return float(((told - guesses) ** 2).mean())
    return float(-(told * np.log(np.clip(guesses, 1e-6, 1.0))).sum(axis=1).mean())


def _binned(values: _Floats, fitted: _Floats) -> npt.NDArray[np.int64]:
    """The bin of each value: 0 is missing."""
    known = fitted[~np.isnan(fitted)]
    edges = np.unique(known)
    most = min(max(len(fitted) // _ROWS_PER_BIN, _LEAST_BINS), _MOST_BINS)
    if len(edges) > most:
        edges = np.unique(np.quantile(known, np.linspace(0.0, 1.0, most)))
    return np.where(np.isnan(values), 0, np.searchsorted(edges, values, side="right") + 1)
