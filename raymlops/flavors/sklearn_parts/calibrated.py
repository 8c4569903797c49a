"""A calibration around XGBoost, without what scikit-learn looks into at every call: 0.15 ms for a row instead of 3."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from raymlops.flavors.dense_booster import DenseBooster

__all__ = ["calibrated_scorer", "inner_estimator"]

Array = npt.NDArray[Any]


def calibrated_scorer(estimator: Any) -> Callable[[Array], Array] | None:
    """What gives P(class 1), or the probabilities of several classes, of a matrix, as the estimator would.

    Args:
        estimator: Any fitted one.

    Returns:
        ``None`` unless it is one calibration around a classifier of XGBoost fitted on a bare matrix.
    """
    inner = inner_estimator(estimator)
    if inner is estimator or type(inner).__name__ != "XGBClassifier" or hasattr(estimator, "feature_names_in_"):
        return None  # and nothing of XGBoost is imported for it
    parts, classes = estimator.calibrated_classifiers_, len(estimator.classes_)
    if len(parts) != 1 or not math.isnan(inner.missing) or not np.array_equal(estimator.classes_, inner.classes_):
        return None
    mappings = [_mapping(calibrator) for calibrator in parts[0].calibrators]
    known = [mapping for mapping in mappings if mapping is not None]
    booster = inner.get_booster()
    if len(known) != len(mappings) or len(known) != (1 if classes == 2 else classes):
        return None
    if booster.attr("best_iteration") is not None:
        return None
    booster.set_param({"nthread": 1})
    dense = DenseBooster(booster)

    def predict(matrix: Array) -> Array:
        return np.asarray(dense.predict(matrix.astype(np.float32)))

    if classes == 2:
        return lambda matrix: known[0](predict(matrix))

    def score(matrix: Array) -> Array:
        said = predict(matrix)
        mapped = np.column_stack([mapping(said[:, place]) for place, mapping in enumerate(known)])
        totals = mapped.sum(axis=1, keepdims=True)
        shares: Array = np.divide(mapped, totals, out=np.full_like(mapped, 1 / classes), where=totals != 0)
        return shares

    return score


def inner_estimator(estimator: Any) -> Any:
    """The estimator that a calibration was put around, or the estimator itself."""
    calibrated = getattr(estimator, "calibrated_classifiers_", None)
    if not calibrated:
        return estimator
    inner = calibrated[0].estimator
    return inner.estimator if type(inner).__name__ == "FrozenEstimator" else inner


def _mapping(calibrator: Any) -> Callable[[Array], Array] | None:
    """From the probabilities of the classifier to those that were seen."""
    kind = type(calibrator).__name__
    if kind == "IsotonicRegression" and calibrator.out_of_bounds == "clip":
        places, values = calibrator.X_thresholds_, calibrator.y_thresholds_
        return lambda said: np.interp(said, places, values)
    if kind == "_SigmoidCalibration":
        slope, shift = calibrator.a_, calibrator.b_
        return lambda said: 1.0 / (1.0 + np.exp(slope * said.astype(np.float64) + shift))
    return None
