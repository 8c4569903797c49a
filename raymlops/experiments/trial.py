"""One trial: one family with one set of parameters, fitted on the training rows and judged on the validation rows."""

from __future__ import annotations

import time
from collections.abc import Callable

import pyarrow as pa
from pydantic import Field

from raymlops.experiments.fitting import fit_candidate
from raymlops.experiments.metrics import metrics
from raymlops.experiments.task import model_inputs, target
from raymlops.flavors.guard import in_one_line
from raymlops.flavors.protocol import RoundReport
from raymlops.records.record import Record
from raymlops.records.tasks import LearningTask

__all__ = ["ParameterValue", "TrialResult", "TrialSpec", "run_trial"]

ParameterValue = str | int | float | bool | None


class TrialSpec(Record):
    """What a trial tries."""

    number: int
    """0, 1, 2 ... without gaps in a search; identifies the trial."""
    family: str
    params: dict[str, ParameterValue] = Field(default_factory=dict)
    seed: int = 0
    origin: str = "sampled"
    """``sampled``, or ``champion`` for a warm start."""


class TrialResult(Record):
    """What came of a trial."""

    spec: TrialSpec
    metrics: dict[str, float] = Field(default_factory=dict)
    """On the validation rows; empty where the trial failed."""
    seconds: float = 0.0
    """Wall time."""
    best_iteration: int | None = None
    """Rounds of boosting that were best on the validation rows, where it stops early."""
    stopped_at: int | None = None
    """Rounds after which it was given up for being behind the others; such a trial is never selected."""
    error: str | None = None
    """``Type: message`` of a trial that failed."""

    @property
    def fitted_params(self) -> dict[str, ParameterValue]:
        """Parameters that build the judged model again without validation rows."""
        params = {name: value for name, value in self.spec.params.items() if name != "early_stopping_rounds"}
        return params if self.best_iteration is None else {**params, "n_estimators": self.best_iteration}


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
        spec: What to try.
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
