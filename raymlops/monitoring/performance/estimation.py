"""Performance estimated without labels, under covariate shift.

Where labels are late, what can be said of a window is what the model's holdout says of rows like the window's. The
holdout's outcomes are calibrated anew with the density ratios of the window (PAPE: Bialek et al. 2024, arXiv
2401.08348), twice: as an isotonic curve of the score, and as a ridge regression on inputs and score that starts from
such a curve; their mean errs less than either. Expected outcomes of the window's rows then give the expected metrics:
the expected confusion matrix, log loss, Brier score and AUC of a classifier (CBPE), the expected loss of a regressor
(direct loss estimation).

It holds as long as what follows from the inputs is what it was: covariate shift. **Under concept drift the estimates
are wrong, and nothing without labels can tell**; so they are marked as estimates, checked against labels once these
come, and start no retraining unless that is configured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import expit, logit

from raymlops.monitoring.performance.basis import Basis
from raymlops.monitoring.performance.calibration import IsotonicCurve
from raymlops.monitoring.performance.expected import class_metrics, drawn_metrics
from raymlops.monitoring.performance.holdout import Holdout, evenly_spread
from raymlops.monitoring.performance.reweighting import (
    density_ratios,
    effective_rows,
    fit_linear,
    fit_logistic,
    tempered,
)
from raymlops.monitoring.profiles.profile import SCORE_COLUMN
from raymlops.records.shown import shown
from raymlops.records.windows import EstimatedPerformance

__all__ = ["Estimation", "PerformanceEstimator"]

MIN_REFERENCE_ROWS = 200
MIN_ROWS = 50
MAX_WINDOW_ROWS = 10_000
REPLICATES = 100
MIN_OVERLAP = 0.05
"""Share of the holdout's rows that the weighted ones amount to at least; where the ratios would have it less, they are
tempered, and the estimate is not to be leant on."""
MIN_DEFINED = 0.5
"""Share of the draws of labels in which a metric must be defined: an AUC needs both classes."""
_Z = 1.959964
_CERTAIN = 0.01
"""The regression starts from shares no nearer to 0 and 1 than this, so that it can still leave them."""

Floats = NDArray[np.float64]


@shown()
@dataclass(frozen=True)
class Estimation:
    """The estimated performance of one version in one window.

    Attributes:
        record: The expected metrics.
        places: Places of the window's rows that it was made from.
        losses: Expected loss of each of those rows: log loss, share of errors, or squared error.
    """

    record: EstimatedPerformance
    places: NDArray[np.intp]
    losses: Floats


class PerformanceEstimator:
    """Estimates the performance of one model version in windows without labels. Immutable, so threads may share it.

    Intervals are for what the metric will be found to be once every row of the window has its label: they hold the
    chance of those labels, the uncertainty of the calibration (a score bootstrap over the holdout's rows), and half of
    what the two calibrations differ by.

    Example:
        >>> import numpy, pyarrow
        >>> rng = numpy.random.default_rng(0)
        >>> x = rng.normal(size=4000)
        >>> chance = 1 / (1 + numpy.exp(-x))
        >>> labels = (rng.random(4000) < chance).astype(float)
        >>> holdout = Holdout.fit("binary", pyarrow.table({"x": x}), chance, labels)
        >>> window = rng.normal(size=1000) / 3  # all near the border
        >>> found = PerformanceEstimator(holdout).estimate(
        ...     pyarrow.table({"x": window}), 1 / (1 + numpy.exp(-window))
        ... )
        >>> round(found.record.metrics["auc"], 1), found.record.method
        (0.6, 'recalibrated')
    """

    def __init__(self, holdout: Holdout) -> None:
        self._holdout = holdout
        self._basis = Basis.fit(self._table(holdout.rows, holdout.scores), [SCORE_COLUMN, *holdout.inputs])
        self._terms = self._basis.matrix(self._table(holdout.rows, holdout.scores))
        self._reference_rows = holdout.scores.size

    @property
    def inputs(self) -> tuple[str, ...]:
        """The model's inputs that it looks at, the most important first."""
        return self._holdout.inputs

    def estimate(self, rows: pa.Table, scores: Floats) -> Estimation | None:
        """Estimate a window.

        Args:
            rows: The window's rows; an input that is not among the columns counts as missing.
            scores: N scores of the version.

        Returns:
            ``None`` where holdout or window have too few rows to say anything.
        """
        usable = np.flatnonzero(np.isfinite(scores))
        places = usable[evenly_spread(usable.size, MAX_WINDOW_ROWS)]
        if self._reference_rows < MIN_REFERENCE_ROWS or places.size < MIN_ROWS:
            return None
        present = set(rows.column_names)
        known = [name for name in self._holdout.inputs if name in present]
        mine = scores[places]
        terms = self._basis.matrix(self._table(rows.select(known).take(pa.array(places)), mine))
        ratios = density_ratios(self._terms, terms)
        weights = tempered(ratios, MIN_OVERLAP * self._reference_rows)
        regressor = self._holdout.kind == "regressor"
        found = self._values(terms, weights) if regressor else self._classes(terms, mine, weights)
        metrics, spreads, losses = found
        if not all(math.isfinite(value) for value in (*metrics.values(), *spreads.values())):
            return None
        return Estimation(
            EstimatedPerformance(
                rows=int(scores.size),
                metrics=metrics,
                intervals={
                    name: _interval(name, metrics[name], spread) for name, spread in spreads.items() if spread > 0
                },
                method="loss regression" if regressor else "recalibrated",
                effective_rows=round(effective_rows(ratios), 1),
                problem=self._problem(ratios, rows),
            ),
            places,
            losses,
        )

    def _classes(
        self, terms: Floats, scores: Floats, weights: Floats
    ) -> tuple[dict[str, float], dict[str, float], Floats]:
        """Expected metrics, their spreads, and each row's expected loss."""
        own, outcomes, kind = self._holdout.scores, self._holdout.outcomes, self._holdout.kind
        curve = IsotonicCurve.fit(own, outcomes)
        start, offset = (logit(np.clip(curve(values), _CERTAIN, 1 - _CERTAIN)) for values in (own, scores))
        fitted = fit_logistic(self._terms, outcomes, weights=weights, offset=start)
        by_inputs = expit(fitted(terms) + offset)
        by_score = IsotonicCurve.fit(own, outcomes, weights)(scores)
        chances = (by_inputs + by_score) / 2
        metrics = class_metrics(kind, scores, chances)
        apart = class_metrics(kind, scores, by_inputs), class_metrics(kind, scores, by_score)
        rng = np.random.default_rng(0)
        pulls = (rng.exponential(size=(REPLICATES, own.size)) - 1) * fitted.pull
        moved = np.column_stack([pulls.sum(axis=1), pulls @ self._terms]) @ fitted.bread
        drawn = fitted.coefficients + moved
        redrawn = expit(drawn[:, :1] + drawn[:, 1:] @ terms.T + offset)
        labels = (rng.random(redrawn.shape) < redrawn).astype(np.float64)
        drawn_values = drawn_metrics(kind, scores, labels)
        spreads = {
            name: math.hypot(float(np.nanstd(values, ddof=1)), (apart[0][name] - apart[1][name]) / 2)
            for name, values in drawn_values.items()
            if np.isfinite(values).mean() > MIN_DEFINED and all(name in found for found in apart)
        }
        metrics = {name: value for name, value in metrics.items() if name in spreads}
        return metrics, spreads, _class_losses(kind, scores, chances)

    def _values(self, terms: Floats, weights: Floats) -> tuple[dict[str, float], dict[str, float], Floats]:
        """The same of a regressor, whose absolute and squared errors and errors are regressed on inputs and score."""
        errors = self._holdout.scores - self._holdout.outcomes
        outcomes = np.column_stack([np.abs(errors), errors**2, errors])
        fitted = fit_linear(self._terms, outcomes, weights=weights)
        weighted = np.average(outcomes, axis=0, weights=weights)
        expected = fitted(terms)
        means = np.maximum(expected.mean(axis=0), [0.0, 0.0, -np.inf])
        rng = np.random.default_rng(0)
        at = np.r_[1.0, terms.mean(axis=0)] @ fitted.bread
        sway = np.column_stack([np.ones(len(self._terms)), self._terms]) @ at
        moved = (rng.exponential(size=(REPLICATES, errors.size)) - 1) @ (sway[:, None] * fitted.pull)
        noise = np.cov(fitted.pull / weights[:, None], rowvar=False, aweights=weights) / len(terms)
        drawn = means + moved + rng.multivariate_normal(np.zeros(3), noise, size=REPLICATES, method="eigh")
        spread = np.hypot(drawn.std(axis=0, ddof=1), (means - weighted) / 2)
        rmse = math.sqrt(means[1])
        metrics = {"mae": float(means[0]), "rmse": rmse, "bias": float(means[2])}
        spreads = {"mae": float(spread[0]), "rmse": float(spread[1]) / (2 * max(rmse, 1e-12)), "bias": float(spread[2])}
        return metrics, spreads, np.maximum(expected[:, 1], 0.0)

    def _table(self, rows: pa.Table, scores: Floats) -> pa.Table:
        """Inputs, and the score as a number that a regression can take."""
        present = set(rows.column_names)
        kept = rows.select([name for name in self._holdout.inputs if name in present])
        line = scores if self._holdout.kind == "regressor" else logit(np.clip(scores, 1e-4, 1 - 1e-4))
        return kept.append_column(SCORE_COLUMN, pa.array(line))

    def _problem(self, ratios: Floats, rows: pa.Table) -> str:
        """Why the estimate should not be leant on; empty where nothing speaks against it."""
        present = set(rows.column_names)
        absent = [name for name in self._holdout.inputs if name not in present]
        if absent:
            return f"the window does not have the inputs {', '.join(absent[:5])}"
        share = effective_rows(ratios) / self._reference_rows
        if share < MIN_OVERLAP:
            return f"the window is unlike the holdout: {share:.1%} of its rows stand for the window"
        return ""


def _class_losses(kind: str, scores: Floats, chances: Floats) -> Floats:
    if kind == "multiclass":
        return 1 - chances
    cut = np.clip(scores, 1e-15, 1 - 1e-15)
    losses: Floats = -chances * np.log(cut) - (1 - chances) * np.log1p(-cut)
    return losses


def _interval(metric: str, value: float, spread: float) -> tuple[float, float]:
    """95% interval, within what the metric can be."""
    low, high = value - _Z * spread, value + _Z * spread
    if metric in {"auc", "accuracy", "brier", "positive_share"}:
        return max(0.0, low), min(1.0, high)
    return (low, high) if metric in {"bias", "calibration_bias"} else (max(0.0, low), high)
