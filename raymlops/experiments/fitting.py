"""Fit one candidate: window, weights, estimator, calibration."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raymlops.errors import ConfigError, TrainingError
from raymlops.experiments import estimators
from raymlops.experiments.metrics import loss
from raymlops.experiments.options import split_options
from raymlops.experiments.seen import SeenClasses
from raymlops.experiments.task import model_inputs, target, with_texts
from raymlops.flavors import flavor_of
from raymlops.flavors.frames import is_frame
from raymlops.flavors.guard import foreign_errors
from raymlops.flavors.protocol import FitRows, RoundReport
from raymlops.flavors.sklearn_parts.calibrated import inner_estimator
from raymlops.tables.columns import as_table

if TYPE_CHECKING:
    from raymlops.experiments.task import FloatArray, IntArray
    from raymlops.records.learning.tasks import LearningTask

__all__ = ["Fitted", "RoundReport", "fit_candidate", "loss_curve"]

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
        seen: The task's classes that its rows held; ``None`` for a regressor.
    """

    estimator: Any
    rows: int
    best_iteration: int | None = None
    stopped_at: int | None = None
    converged: bool = True
    seen: SeenClasses | None = None

    def predict(self, inputs: Any, task: LearningTask) -> FloatArray:
        """Probabilities [rows, classes of the task], or values [rows]."""
        predictions = estimators.predict(self.estimator, inputs, task.kind)
        return predictions if self.seen is None else self.seen.spread(predictions)


def fit_candidate(
    family: str,
    params: Mapping[str, object],
    *,
    seed: int,
    rows: Any,
    task: LearningTask,
    valid: Any = None,
    report: RoundReport | None = None,
) -> Fitted:
    """Build and fit, on one thread; deterministic.

    Args:
        family: Of ``estimators.build``.
        params: The estimator's, and options of the fit.
        seed: Seeds whatever the estimator draws.
        rows: A table or a frame, in order of time, where an option of the fit depends on it.
        task: What is learned.
        valid: Rows that an estimator with ``early_stopping_rounds`` watches, and that are reported on.
        report: Hears of every round of boosting of ``xgboost`` and ``lightgbm``, and may end the fit.

    Raises:
        ConfigError: Parameters or options do not fit the family, the task or the rows.
        NotEnoughRows: There are too few rows to hold some out for a calibration, or they hold one class only.
        TrainingError: The estimator raised something.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    rows = as_table("rows", rows)
    valid = None if valid is None else as_table("valid", valid)
    task = with_texts(task, rows.schema)
    _, options = split_options(params)
    fitted_on, held_out = options.parted(options.rows(rows, task))
    labels = target(fitted_on, task)
    seen = SeenClasses.of(labels, task)
    learned = task if seen is None else seen.task
    with foreign_errors(f"an estimator of family {family!r} cannot be built", TrainingError):
        estimator = estimators.build(family, params, seed=seed, task=learned)
    weights = options.weights(fitted_on, labels, task)
    watched = None if valid is None else (model_inputs(valid, task), target(valid, task))
    if seen is not None:
        watched, report = _seen_alone(watched, report, seen)
        labels = seen.encode(labels)
    cannot = foreign_errors(f"family {family!r} cannot be fitted", TrainingError)
    with threadpool_limits(limits=1), warnings.catch_warnings(record=True) as told, cannot:
        warnings.simplefilter("always", ConvergenceWarning)
        given = FitRows(model_inputs(fitted_on, task), labels, weights, watched)
        ended = estimators.family_named(family).fit(estimator, given, report, learned)
        if held_out is not None:
            estimator = _calibrated(estimator, options.calibration, held_out, task, seen)
    slow = [each for each in told if issubclass(each.category, ConvergenceWarning)]
    for other in told:
        if other not in slow:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    return Fitted(estimator, fitted_on.num_rows, ended.best_iteration, ended.stopped_at, not slow, seen)


def loss_curve(estimator: Any, rows: pa.Table, task: LearningTask) -> list[tuple[int, float]]:
    """Mean loss over ``rows`` by rounds of boosting; empty for an estimator that has none.

    Args:
        estimator: Fitted; of a calibrated one the curve is that of the estimator within.
        rows: Judged on at most some thousand of them, evenly spread.
        task: What is learned.
    """
    within = inner_estimator(estimator)
    step = max(1, -(-rows.num_rows // _CURVE_ROWS))
    sample = rows.take(pa.array(np.arange(0, rows.num_rows, step)))
    inputs, labels = estimators.asked(within, model_inputs(sample, task)), target(sample, task)
    found = []
    for rounds, predictions in _staged(within, inputs, task):
        found.append((rounds, float(np.mean(loss(labels, predictions.astype(np.float64, copy=False), task)))))
    return found


def _staged(estimator: Any, inputs: Any, task: LearningTask) -> list[tuple[int, FloatArray]]:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        return flavor_of(estimator).staged(estimator, inputs, task.kind, lambda total: _points(total, _CURVE_POINTS))


def _points(total: int, most: int) -> list[int]:
    """From 1 to ``total``, at most ``most`` of them, denser at the start, where a loss falls."""
    return sorted({round(n) for n in np.geomspace(1, total, min(most, total))})


def _seen_alone(
    watched: tuple[Any, FloatArray | IntArray] | None, report: RoundReport | None, seen: SeenClasses
) -> tuple[tuple[Any, IntArray] | None, RoundReport | None]:
    """The rows watched whose class was seen, and a report that allows for the others."""
    if watched is None:
        return None, report
    inputs, labels = watched
    known = seen.known(labels)
    if len(known) and len(known) < len(labels):
        report = None if report is None else seen.reporter(report, len(labels), len(known))
        inputs, labels = inputs.iloc[known] if is_frame(inputs) else inputs[known], labels[known]
    return ((inputs, seen.encode(labels)) if len(known) else None), report


def _calibrated(
    estimator: Any, method: str | None, held_out: pa.Table, task: LearningTask, seen: SeenClasses | None
) -> Any:
    """The estimator with its probabilities mapped to the shares seen in the rows held out."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    labels: IntArray | FloatArray = target(held_out, task)
    classes = task.classes
    if seen is not None:
        known, classes = seen.known(labels), seen.task.classes
        held_out, labels = held_out.take(pa.array(known)), seen.encode(labels[known])
    rarest = int(np.bincount(labels.astype(np.int64), minlength=classes).min())
    if rarest < 2:
        raise ConfigError(f"calibration needs two rows of every class among those held out, got {rarest}")
    folds = min(5, rarest)
    calibrated = CalibratedClassifierCV(FrozenEstimator(estimator), method=method, cv=folds)
    return calibrated.fit(estimators.asked(estimator, model_inputs(held_out, task)), labels)
