"""Density ratios: how much more often a window holds rows like each of the reference's.

Under covariate shift (the inputs move, what follows from them does not) the reference's rows, weighted by the ratio of
the two densities, stand for the window's (Shimodaira 2000). The ratio comes from a classifier that tells the two apart
(Bickel et al. 2007), here a ridge logistic regression on the terms of a ``Basis``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit, logit

__all__ = ["RidgeFit", "density_ratios", "effective_rows", "fit_linear", "fit_logistic", "tempered"]

RIDGE = 10.0
"""Penalty on squared coefficients of standardised terms: worth ten rows of evidence, whatever the rows."""
MAX_RATIO = 10.0
"""Ratios are cut here: what little bias that brings is far less than the noise of a few rows that stand for all."""
STEPS = 60
LONGEST_STEP = 3.0
FLAT = 1e-6
"""Least information of a row, however sure its chance."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RidgeFit:
    """A fitted ridge regression.

    Attributes:
        coefficients: Intercept first, then one per term; shape [1 + terms] or [1 + terms, outcomes].
        pull: How each of the N rows pulls at the coefficients: its score, shape [N, 1 + terms] or [N, outcomes] of
            residuals that the terms are to be multiplied by.
        bread: Inverse of the penalised information, shape [1 + terms, 1 + terms].
    """

    coefficients: Floats
    pull: Floats
    bread: Floats

    def __call__(self, terms: Floats) -> Floats:
        """Linear predictions of M rows."""
        predicted: Floats = self.coefficients[0] + terms @ self.coefficients[1:]
        return predicted


def fit_logistic(terms: Floats, outcomes: Floats, *, weights: Floats, offset: Floats) -> RidgeFit:
    """Ridge logistic regression.

    Args:
        terms: Shape [N, terms].
        outcomes: N outcomes, 0 to 1.
        weights: N weights.
        offset: N log odds to start from: what the terms say is added to them, and shrinks to nothing.
    """
    design, penalty = _with_intercept(terms)
    coefficients = _newton(design, outcomes, weights, offset, penalty)
    chance = expit(design @ coefficients + offset)
    information = _information(design, weights * np.maximum(chance * (1 - chance), FLAT), penalty)
    return RidgeFit(coefficients, weights * (outcomes - chance), _inverse(information))


def _newton(design: Floats, outcomes: Floats, weights: Floats, offset: Floats, penalty: Floats) -> Floats:
    """The coefficients of a ridge logistic regression.

    To form the information is nearly all the work, so a step takes that of the step before for as long as steps halve:
    the next ones then sum to less than the last one.
    """
    coefficients = np.zeros(design.shape[1])
    share = np.clip(np.average(outcomes, weights=weights), 1e-4, 1 - 1e-4)
    coefficients[0] = logit(share) - np.average(offset, weights=weights)
    factor, before = None, np.inf
    for _ in range(STEPS):
        chance = expit(design @ coefficients + offset)
        if factor is None:
            factor = cho_factor(_information(design, weights * np.maximum(chance * (1 - chance), FLAT), penalty))
        step = cho_solve(factor, design.T @ (weights * (outcomes - chance)) - penalty * coefficients)
        largest = float(np.abs(step).max())
        coefficients += step * min(1.0, LONGEST_STEP / max(largest, 1e-12))
        if largest < 1e-4:
            break
        if largest > before / 2:
            factor = None
        before = largest
    return coefficients


def fit_linear(terms: Floats, outcomes: Floats, *, weights: Floats) -> RidgeFit:
    """Ridge regression of several outcomes at once, shape [N, outcomes]."""
    design, penalty = _with_intercept(terms)
    bread = _inverse(_information(design, weights, penalty))
    coefficients = bread @ (design.T @ (weights[:, None] * outcomes))
    residuals = outcomes - design @ coefficients
    return RidgeFit(coefficients, weights[:, None] * residuals, bread)


def density_ratios(reference: Floats, window: Floats) -> Floats:
    """The window's density over the reference's at each of the reference's rows, with a mean of 1.

    Args:
        reference: Terms of the reference's rows, shape [N, terms].
        window: Terms of the window's rows, shape [M, terms].
    """
    n, m = len(reference), len(window)
    design, penalty = _with_intercept(np.vstack([reference, window]))
    outcomes = np.r_[np.zeros(n), np.ones(m)]
    coefficients = _newton(design, outcomes, np.ones(n + m), np.zeros(n + m), penalty)
    ratios = np.exp(np.clip(design[:n] @ coefficients - np.log(m / n), -10.0, np.log(MAX_RATIO)))
    weights: Floats = ratios / ratios.mean()
    return weights


def effective_rows(weights: Floats) -> float:
    """Rows of equal weight that would tell as much (Kish): few where reference and window hardly overlap."""
    return float(weights.sum() ** 2 / (weights @ weights))


def tempered(ratios: Floats, rows: float) -> Floats:
    """Ratios to the largest power, 1 at most, at which they amount to ``rows`` effective rows; 20 powers are tried."""
    for power in np.linspace(1.0, 0.05, 20):
        weights: Floats = np.power(ratios, power)
        if effective_rows(weights) >= rows:
            return np.asarray(weights / weights.mean())
    return np.ones_like(ratios)


def _with_intercept(terms: Floats) -> tuple[Floats, Floats]:
    """The design and the penalty of each of its columns."""
    return np.column_stack([np.ones(len(terms)), terms]), np.r_[1e-6, np.full(terms.shape[1], RIDGE)]


def _information(design: Floats, weights: Floats, penalty: Floats) -> Floats:
    scaled = design * np.sqrt(weights)[:, None]
    found: Floats = scaled.T @ scaled  # of a matrix with itself only half is computed
    found[np.diag_indices(len(penalty))] += penalty
    return found


def _inverse(information: Floats) -> Floats:
    return np.asarray(np.linalg.inv(information), dtype=np.float64)
