"""Metrics of a classifier whose labels are not known, but how likely each of them is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raymlops.monitoring.performance.intervals import SMALLEST_PROBABILITY

__all__ = ["class_metrics", "drawn_metrics"]

Floats = NDArray[np.float64]


def class_metrics(kind: str, scores: Floats, chances: Floats) -> dict[str, float]:
    """Expected metrics, under the names that the realised ones have.

    Args:
        kind: ``binary`` or ``multiclass``.
        scores: N scores: probabilities of the second class, or of the class that was named.
        chances: N chances that the label is the second class, or the class that was named.

    Returns:
        Of several classes ``accuracy`` alone: only the named class's probability is logged.
    """
    return {name: float(values[0]) for name, values in drawn_metrics(kind, scores, chances[None, :]).items()}


def drawn_metrics(kind: str, scores: Floats, labels: Floats) -> dict[str, Floats]:
    """Metrics of several sets of labels, or of chances, for the same scores: R values each.

    Args:
        kind: ``binary`` or ``multiclass``.
        scores: N scores.
        labels: Shape [R, N], each 0 to 1.
    """
    if kind == "multiclass":
        return {"accuracy": labels.mean(axis=1)}
    ones = np.log(np.clip(scores, SMALLEST_PROBABILITY, 1.0))
    zeros = np.log(np.clip(1 - scores, SMALLEST_PROBABILITY, 1.0))
    positive = labels.mean(axis=1)
    n, hit = scores.size, scores >= 0.5
    found = {
        "log_loss": -(labels @ (ones - zeros)) / n - zeros.mean(),
        "brier": (scores**2).mean() + labels @ (1 - 2 * scores) / n,
        "accuracy": (~hit).mean() + labels @ np.where(hit, 1.0, -1.0) / n,
        "mean_probability": np.full(len(labels), scores.mean()),
        "positive_share": positive,
        "calibration_bias": scores.mean() - positive,
    }
    areas = _areas(scores, labels)
    if np.isfinite(areas).any():
        found["auc"] = areas
    return found


def _areas(scores: Floats, labels: Floats) -> Floats:
    """Share of (positive, negative) pairs that the scores order rightly, ties by half; NaN where there is no pair."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    positives = np.add.reduceat(labels[:, order], starts, axis=1)
    rows = np.diff(np.r_[starts, scores.size])
    negatives = rows - positives
    below = np.cumsum(negatives, axis=1) - negatives / 2
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    areas: Floats = (positives * below).sum(axis=1) / np.where(pairs > 0, pairs, np.nan)
    return areas
