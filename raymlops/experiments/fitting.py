"""Fit one candidate: window, weights, estimator, calibration."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.errors import ConfigError
from raymlops.experiments import estimators
from raymlops.experiments.metrics import loss
from raymlops.experiments.options import split_options
from raymlops.experiments.task import FloatArray, IntArray, LearningTask, matrix, target

__all__ = ["Fitted", "RoundReport", "fit_candidate", "loss_curve"]

RoundReport = Callable[[int, float], bool]
"""``(rounds, loss on the validation rows) -> whether to go on``; called after each round of boosting."""

_CURVE_ROWS, _CURVE_POINTS = 4000, 8


@dataclass(frozen=True)
class Fitted:
    """A fitted candidate.

    Attributes:
        estimator: Calibrated, where that was asked for.
        rows: How many rows it was fitted on.
        best_iteration: How many rounds of boosting were best on the validation rows, where it stops early.
        stopped_at: After how many rounds a report ended the fit, where one did.
        converged: Whether no solver said that it gave up before its end.
    """

    estimator: Any
    rows: int
    best_iteration: int | None = None
    stopped_at: int | None = None
    converged: bool = True


def fit_candidate(
    family: str,
    params: Mapping[str, object],
    *,
    seed: int,
    rows: pa.Table,
    task: LearningTask,
    valid: pa.Table | None = None,
    report: RoundReport | None = None,
) -> Fitted:
    """Build and fit, on one thread; deterministic.

    Args:
        family: Of ``estimators.build``.
        params: The estimator's, and options of the fit.
        seed: Seeds whatever the estimator draws.
        rows: In order of time, where an option of the fit depends on it.
        task: What is learned.
        valid: What an estimator with ``early_stopping_rounds`` watches, and what is reported on.
        report: Hears of every round of ``xgboost``, and may end the fit. Other families have no rounds to tell of.

    Raises:
        ConfigError: Parameters or options do not fit the family, the task or the rows.
        NotEnoughRows: There are too few rows to hold some out for a calibration.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    estimator = estimators.build(family, params, seed=seed, task=task)
    _, options = split_options(params)
    fitted_on, held_out = options.parted(options.rows(rows, task))
    labels = target(fitted_on, task)
    given = _weights_arguments(family, estimator, options.weights(fitted_on, labels, task))
    watched = None if valid is None else (matrix(valid, task.inputs), target(valid, task))
    watcher = None if report is None or watched is None or family != "xgboost" else _watcher(report, task)
    if watcher is not None:
        estimator.set_params(callbacks=[watcher])
    with threadpool_limits(limits=1), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ConvergenceWarning)
        if getattr(estimator, "early_stopping_rounds", None) is not None or watcher is not None:
            if watched is None:
                raise ConfigError("early_stopping_rounds needs validation rows, got none")
            given = {**given, "eval_set": [watched], "verbose": False}
        estimator.fit(matrix(fitted_on, task.inputs), labels, **given)
        best = _best_iteration(estimator)
        calibrated = estimator if held_out is None else _calibrated(estimator, options.calibration, held_out, task)
    if watcher is not None:
        estimator.set_params(callbacks=None)
    slow = [each for each in told if issubclass(each.category, ConvergenceWarning)]
    for other in told:
        if other not in slow:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    return Fitted(
        estimator=calibrated,
        rows=fitted_on.num_rows,
        best_iteration=best,
        stopped_at=None if watcher is None else watcher.stopped_at,
        converged=not slow,
    )


def loss_curve(estimator: Any, rows: pa.Table, task: LearningTask) -> list[tuple[int, float]]:
    """Mean loss over ``rows`` by rounds of boosting; empty for an estimator that has none.

    Args:
        estimator: Fitted; of a calibrated one the curve is that of the estimator within.
        rows: Judged on at most some thousand of them, evenly spread.
        task: What is learned.
    """
    within = _within(estimator)
    step = max(1, -(-rows.num_rows // _CURVE_ROWS))
    sample = rows.take(pa.array(np.arange(0, rows.num_rows, step)))
    inputs, labels = matrix(sample, task.inputs), target(sample, task)
    found = []
    for rounds, predictions in _staged(within, inputs, task):
        found.append((rounds, float(np.mean(loss(labels, predictions.astype(np.float64, copy=False), task)))))
    return found


def _staged(estimator: Any, inputs: FloatArray, task: LearningTask) -> list[tuple[int, FloatArray]]:
    from threadpoolctl import threadpool_limits

    method = "predict_proba" if task.kind == "classifier" else "predict"
    with threadpool_limits(limits=1):
        if hasattr(estimator, "get_booster"):
            total = estimator.get_booster().num_boosted_rounds()
            return [
                (n, getattr(estimator, method)(inputs, iteration_range=(0, n))) for n in _points(total, _CURVE_POINTS)
            ]
        staged = getattr(estimator, f"staged_{method}", None)
        if staged is None:
            return []
        everything = list(staged(inputs))
        return [(n, everything[n - 1]) for n in _points(len(everything), _CURVE_POINTS)]


def _points(total: int, most: int) -> list[int]:
    """From 1 to ``total``, at most ``most`` of them, denser at the start, where a loss falls."""
    return sorted({round(n) for n in np.geomspace(1, total, min(most, total))})


def _within(estimator: Any) -> Any:
    """The estimator that was fitted: in a calibration, and at the end of a pipeline of one step."""
    found = estimator
    if hasattr(found, "calibrated_classifiers_"):
        found = found.calibrated_classifiers_[0].estimator
    return getattr(found, "estimator", found) if type(found).__name__ == "FrozenEstimator" else found


def _weights_arguments(family: str, estimator: Any, weights: FloatArray | None) -> dict[str, Any]:
    """How ``fit`` is told the weights.

    Raises:
        ConfigError: The estimator knows no weights.
    """
    from sklearn.utils.validation import has_fit_parameter

    if weights is None:
        return {}
    steps = getattr(estimator, "steps", None)
    last, prefix = (steps[-1][1], f"{steps[-1][0]}__") if steps else (estimator, "")
    if not has_fit_parameter(last, "sample_weight"):
        kind = type(last).__name__
        raise ConfigError(f"class_weight and half_life_days need sample weights, which {kind} has not", family=family)
    return {f"{prefix}sample_weight": weights}


def _calibrated(estimator: Any, method: str | None, held_out: pa.Table, task: LearningTask) -> Any:
    """The estimator with its probabilities mapped to the shares seen in the rows held out."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    labels: IntArray | FloatArray = target(held_out, task)
    rarest = int(np.bincount(labels.astype(np.int64), minlength=task.classes).min())
    if rarest < 2:
        raise ConfigError(f"calibration needs two rows of every class among those held out, got {rarest}")
    folds = min(5, rarest)
    calibrated = CalibratedClassifierCV(FrozenEstimator(estimator), method=method, cv=folds)
    return calibrated.fit(matrix(held_out, task.inputs), labels)


def _best_iteration(estimator: Any) -> int | None:
    if getattr(estimator, "early_stopping_rounds", None) is None:
        return None
    return int(estimator.best_iteration) + 1


def _watcher(report: RoundReport, task: LearningTask) -> Any:
    import xgboost

    class Watcher(xgboost.callback.TrainingCallback):  # type: ignore[misc]  # XGBoost is untyped here
        stopped_at: int | None = None

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            del model
            (by_metric,) = evals_log.values()
            (values,) = by_metric.values()
            value = float(values[-1])
            if not report(epoch + 1, value * value if task.metric == "brier" and task.binary else value):
                self.stopped_at = epoch + 1
                return True
            return False

    return Watcher()
