"""Metrics of predictions, from losses per row.

``predictions`` are probabilities of shape [rows, classes] for a classifier and values of shape [rows] for a regressor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from raymlops.errors import DataError, NotEnoughRows

if TYPE_CHECKING:
    from raymlops.experiments.task import FloatArray, IntArray
    from raymlops.records.learning.tasks import LearningTask

__all__ = ["SMALLEST", "auc", "constant_predictions", "loss", "metrics", "row_terms", "score"]

SMALLEST = 1e-15
"""Probability that a class is taken to have had at least: one that comes against all odds costs no infinite loss."""


def row_terms(labels: FloatArray | IntArray, predictions: FloatArray, task: LearningTask) -> dict[str, FloatArray]:
    """Per metric, what each row adds to the mean; ``rmse`` is there as the squared error ``mse``.

    Raises:
        DataError: A prediction is not finite, or the shapes do not fit.
    """
    expected = (len(labels),) if task.kind == "regressor" else (len(labels), task.classes)
    if predictions.shape != expected:
        raise DataError(f"predictions must have shape {expected}, got {predictions.shape}")
    if not np.isfinite(predictions).all():
        raise DataError(f"predictions must be finite, got {int((~np.isfinite(predictions)).sum())} that are not")
    if task.kind == "regressor":
        errors = predictions - labels
        return {"mse": errors**2, "mae": np.abs(errors), "mean_error": errors}
    picked = labels.astype(np.int64)
    own = predictions[np.arange(len(picked)), picked]
    terms = {
        "log_loss": -np.log(np.clip(own, SMALLEST, 1.0)),
        "accuracy": (predictions.argmax(axis=1) == picked).astype(np.float64),
    }
    if task.binary:
        positive = predictions[:, 1]
        terms["brier"] = (positive - picked) ** 2
        terms["mean_probability"] = positive
        terms["positive_share"] = picked.astype(np.float64)
        terms["calibration_bias"] = positive - picked
    else:
        terms["brier"] = (predictions**2).sum(axis=1) - 2.0 * own + 1.0
    return terms


def loss(labels: FloatArray | IntArray, predictions: FloatArray, task: LearningTask) -> FloatArray:
    """The task's metric per row, to be averaged; squared errors where the metric is ``rmse``."""
    return row_terms(labels, predictions, task)["mse" if task.metric == "rmse" else task.metric]


def metrics(labels: FloatArray | IntArray, predictions: FloatArray, task: LearningTask) -> dict[str, float]:
    """All metrics of the task; ``auc`` only where it is defined: two classes, both seen.

    Raises:
        NotEnoughRows: There is no row.
        DataError: A prediction is not finite, or the shapes do not fit.
    """
    if len(labels) == 0:
        raise NotEnoughRows("metrics need at least one row, got 0")
    result = {name: float(terms.mean()) for name, terms in row_terms(labels, predictions, task).items()}
    if "mse" in result:
        result["rmse"] = float(np.sqrt(result.pop("mse")))
    if task.binary and 0 < labels.sum() < len(labels):
        result["auc"] = auc(labels, predictions[:, 1])
    return result


def auc(labels: FloatArray | IntArray, scores: FloatArray) -> float:
    """Share of (positive, negative) pairs that the scores order rightly, ties by half.

    Raises:
        NotEnoughRows: One of the classes is not there.
    """
    from scipy.stats import rankdata

    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if positives == 0 or negatives == 0:
        raise NotEnoughRows(f"auc needs both classes, got {positives} positive and {negatives} negative rows")
    ranks = rankdata(scores)
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def constant_predictions(labels: FloatArray | IntArray, rows: int, task: LearningTask) -> FloatArray:
    """Predictions of a constant model that has seen ``labels``: class shares or the mean, ``rows`` times.

    Shares are smoothed by one row per class, so that a class never seen does not cost an infinite loss.
    """
    if task.kind == "regressor":
        return np.full(rows, float(labels.mean()))
    counts = np.bincount(labels.astype(np.int64), minlength=task.classes) + 1.0
    return np.tile(counts / counts.sum(), (rows, 1))


def score(predictions: FloatArray, task: LearningTask) -> FloatArray:
    """One number per row, as the prediction log holds it: P(class 1), the value, or the largest probability."""
    if task.kind == "regressor":
        return predictions
    return predictions[:, 1] if task.binary else predictions.max(axis=1)
