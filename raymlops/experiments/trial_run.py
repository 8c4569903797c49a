"""Running one trial: a candidate is fitted on the training rows and judged on the validation rows."""

from __future__ import annotations

import time
from collections.abc import Callable

import pyarrow as pa

from raymlops.experiments.fitting import fit_candidate
from raymlops.experiments.metrics import metrics
from raymlops.experiments.task import model_inputs, target
from raymlops.experiments.trial import TrialResult, TrialSpec
from raymlops.flavors.guard import in_one_line
from raymlops.flavors.protocol import RoundReport
from raymlops.records.learning.tasks import LearningTask

__all__ = ["run_trial"]


def run_trial(
    spec: TrialSpec,
    train: pa.Table,
    valid: pa.Table,
    *,
    task: LearningTask,
    report: RoundReport | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> TrialResult:
    """Fit and judge; deterministic but for ``seconds``.

    Whatever the estimator raises ends this trial and not the search: it is the ``error`` of the result.

    Args:
        spec: The family and its parameters.
        train: Rows to fit on.
        valid: Rows to judge by.
        task: What is learned.
        report: Hears of every round of boosting, and may end the trial.
        clock: Gives seconds.
    """
    started = clock()
    try:
        fitted = fit_candidate(
            spec.family, spec.params, seed=spec.seed, rows=train, task=task, valid=valid, report=report
        )
        predictions = fitted.predict(model_inputs(valid, task), task)
        scores = metrics(target(valid, task), predictions, task)
    except Exception as error:
        # an estimator may raise anything; the selection raises where no trial is left, and names every error
        return TrialResult(spec=spec, seconds=clock() - started, error=in_one_line(error))
    return TrialResult(
        spec=spec,
        metrics=scores,
        seconds=clock() - started,
        best_iteration=fitted.best_iteration,
        stopped_at=fitted.stopped_at,
    )
