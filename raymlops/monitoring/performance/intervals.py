"""Realised performance, with intervals, and whether it has become worse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import special

from raymlops.records.windows import Performance

if TYPE_CHECKING:
    from raymlops.config.monitoring import PerformanceConfig

__all__ = [
    "find_degradation",
    "measure_binary",
    "measure_multiclass",
    "measure_regressor",
]

CONFIDENCE = 0.95
SMALLEST_PROBABILITY = 1e-15
_Z = float(special.ndtri((1 + CONFIDENCE) / 2))

Floats = NDArray[np.float64]
Interval = tuple[float, float]


def measure_binary(rows: int, scores: Floats, labels: Floats) -> Performance:
    """Performance of a binary classifier.

    Args:
        rows: Rows answered, labelled or not.
        scores: N probabilities of class 1 of the labelled rows.
        labels: N labels, 0 or 1.

    Returns:
        ``log_loss``, ``brier``, ``accuracy`` (at 0.5), ``auc`` (where both classes occur), ``mean_probability``,
        ``positive_share`` and ``calibration_bias`` (their difference). Intervals take rows as independent.
    """
    if not scores.size:
        return Performance(rows=rows, labelled_rows=0, metrics={})
    right = np.clip(np.where(labels == 1, scores, 1 - scores), SMALLEST_PROBABILITY, 1.0)
    means = {
        "log_loss": -np.log(right),
        "brier": (scores - labels) ** 2,
        "calibration_bias": scores - labels,
    }
    metrics, intervals = _means(means)
    hits = (scores >= 0.5) == (labels == 1)
    metrics |= {
        "accuracy": float(hits.mean()),
        "mean_probability": float(scores.mean()),
        "positive_share": float(labels.mean()),
    }
    intervals |= {"accuracy": _wilson(hits), "positive_share": _wilson(labels == 1)}
    if 0 < labels.mean() < 1:
        metrics["auc"], intervals["auc"] = _auc(scores[labels == 1], scores[labels != 1])
    return Performance(rows=rows, labelled_rows=scores.size, metrics=metrics, intervals=intervals)


def measure_multiclass(rows: int, right: NDArray[np.bool_]) -> Performance:
    """Performance of a classifier of three classes or more, from whether each labelled row was right: ``accuracy``."""
    if not right.size:
        return Performance(rows=rows, labelled_rows=0, metrics={})
    return Performance(
        rows=rows,
        labelled_rows=right.size,
        metrics={"accuracy": float(right.mean())},
        intervals={"accuracy": _wilson(right)},
    )


def measure_regressor(rows: int, values: Floats, labels: Floats) -> Performance:
    """Performance of a regressor: ``mae``, ``rmse``, ``bias`` (mean value minus mean label), and both means."""
    if not values.size:
        return Performance(rows=rows, labelled_rows=0, metrics={})
    errors = values - labels
    metrics, intervals = _means({"mae": np.abs(errors), "mse": errors**2, "bias": errors})
    metrics["rmse"] = math.sqrt(metrics.pop("mse"))
    if "mse" in intervals:
        low, high = intervals.pop("mse")
        intervals["rmse"] = math.sqrt(max(0.0, low)), math.sqrt(high)
    metrics |= {"mean_value": float(values.mean()), "mean_label": float(labels.mean())}
    return Performance(rows=rows, labelled_rows=values.size, metrics=metrics, intervals=intervals)


def find_degradation(performance: Performance | None, reference: Mapping[str, float], config: PerformanceConfig) -> str:
    """Why the champion counts as degraded, empty where it does not.

    It is where its loss lies above the reference's by more than the margin, by a one-sided test, or where its mean
    probability misses the share of positives: by more than ``calibration_margin``, and significantly at 95%.
    """
    if performance is None or performance.labelled_rows < config.min_labelled_rows:
        return ""
    reasons = [
        reason
        for metric, sign in (("log_loss", 1), ("rmse", 1), ("accuracy", -1))
        if (reason := _worse(metric, sign, performance, reference, config))
    ]
    low, high = performance.intervals.get("calibration_bias", (0.0, 0.0))
    bias = performance.metrics.get("calibration_bias", 0.0)
    if abs(bias) > config.calibration_margin and not low <= 0 <= high:
        reasons.append(
            f"mean probability {performance.metrics['mean_probability']:.3f} misses the positive share "
            f"{performance.metrics['positive_share']:.3f} by more than {config.calibration_margin:g} "
            f"(95% interval {low:+.3f} to {high:+.3f})"
        )
    return "; ".join(reasons)


def _worse(
    metric: str, sign: int, performance: Performance, reference: Mapping[str, float], config: PerformanceConfig
) -> str:
    if metric not in reference or metric not in performance.intervals:
        return ""
    if metric == "accuracy" and "log_loss" in performance.metrics:
        return ""  # log loss is the finer measure of the same answers
    value, bound = performance.metrics[metric], reference[metric] * (1 + sign * config.margin)
    near = performance.intervals[metric][0 if sign > 0 else 1]
    surely = value + (near - value) * float(-special.ndtri(config.significance)) / _Z
    if sign * (surely - bound) <= 0:
        return ""
    side, rule = ("above", "at least") if sign > 0 else ("below", "at most")
    return (
        f"{metric} {value:.4g} ({rule} {surely:.4g}) is {side} {bound:.4g}, "
        f"the reference's {reference[metric]:.4g} with its margin of {config.margin:.0%}"
    )


def _means(values: Mapping[str, Floats]) -> tuple[dict[str, float], dict[str, Interval]]:
    metrics, intervals = {}, {}
    for name, rows in values.items():
        mean = float(rows.mean())
        metrics[name] = mean
        if rows.size > 1:
            reach = _Z * float(rows.std(ddof=1)) / math.sqrt(rows.size)
            intervals[name] = (mean - reach, mean + reach)
    return metrics, intervals


def _wilson(hits: NDArray[np.bool_]) -> Interval:
    """Wilson's interval of a share: right near 0 and 1 too."""
    n, share = hits.size, float(hits.mean())
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    reach = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def _auc(positives: Floats, negatives: Floats) -> tuple[float, Interval]:
    """Area under the ROC curve with DeLong's interval."""
    from scipy.stats import rankdata

    n, m = positives.size, negatives.size
    ranks = rankdata(np.concatenate([positives, negatives]))
    above = (ranks[:n] - rankdata(positives)) / m
    below = 1 - (ranks[n:] - rankdata(negatives)) / n
    area = float(above.mean())
    if n < 2 or m < 2:
        return area, (0.0, 1.0)
    reach = _Z * math.sqrt(float(above.var(ddof=1)) / n + float(below.var(ddof=1)) / m)
    return area, (max(0.0, area - reach), min(1.0, area + reach))
