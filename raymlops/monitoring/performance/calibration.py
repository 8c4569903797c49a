"""Isotonic calibration: what share of rows with a score turn out positive, rising with the score.

The curve is Zadrozny and Elkan's (2002): the weighted least-squares fit among all that do not fall, found by pooling
adjacent violators. Weighted by density ratios it is calibrated for a window that differs from the rows it was fitted
on, as in PAPE (Bialek et al. 2024, arXiv 2401.08348).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from raymlops.errors import NotEnoughRows

__all__ = ["IsotonicCurve"]

GROUPS = 200

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class IsotonicCurve:
    """A curve that never falls, linear between its knots and level outside of them.

    Attributes:
        knots: Rising scores.
        values: Calibrated shares at the knots.

    Example:
        >>> import numpy
        >>> curve = IsotonicCurve.fit(numpy.array([0.1, 0.2, 0.3, 0.4]), numpy.array([0.0, 1.0, 0.0, 1.0]))
        >>> curve(numpy.array([0.0, 0.25, 0.4])).tolist()
        [0.0, 0.5, 1.0]
    """

    knots: Floats
    values: Floats

    @classmethod
    def fit(cls, scores: Floats, outcomes: Floats, weights: Floats | None = None) -> Self:
        """Fit the curve.

        Neighbouring scores are put in at most 200 groups of equal weight first: the curve is as fine as the rows can
        tell, and the cost does not grow with distinct scores.

        Args:
            scores: N finite scores.
            outcomes: N outcomes, 0 to 1.
            weights: N weights, not negative; all alike by default.

        Raises:
            NotEnoughRows: No row has a weight.
        """
        weights = np.ones(scores.size) if weights is None else weights
        if not scores.size or not weights.sum() > 0:
            raise NotEnoughRows(f"a calibration curve needs weighted rows, got {scores.size} of weight 0")
        there = np.flatnonzero(weights > 0)
        order = there[np.argsort(scores[there], kind="stable")]
        scores, outcomes, weights = scores[order], outcomes[order], weights[order]
        below = np.cumsum(weights) - weights
        groups = np.minimum((below / weights.sum() * GROUPS).astype(np.int64), GROUPS - 1)
        fresh = np.r_[True, scores[1:] != scores[:-1]]
        _, places = np.unique(groups[fresh][np.cumsum(fresh) - 1], return_inverse=True)  # equal scores stay together
        from scipy.optimize import isotonic_regression

        mass = np.bincount(places, weights)
        mean = np.bincount(places, weights * outcomes) / mass
        return cls(
            knots=np.bincount(places, weights * scores) / mass,
            values=np.asarray(isotonic_regression(mean, weights=mass).x, dtype=np.float64),
        )

    def __call__(self, scores: Floats) -> Floats:
        """Calibrated shares of N scores."""
        return np.interp(scores, self.knots, self.values)
