"""One trial: one family with one set of parameters, fitted on the training rows and judged on the validation rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa
from pydantic import Field

from raymlops.experiments import estimators
from raymlops.experiments.metrics import metrics
from raymlops.experiments.task import LearningTask, matrix, target
from raymlops.records.record import Record

__all__ = ["InProcessTuner", "ParameterValue", "TrialResult", "TrialSpec", "Tuner", "run_trial"]

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
    error: str | None = None
    """``Type: message`` of a trial that failed."""

    @property
    def fitted_params(self) -> dict[str, ParameterValue]:
        """Parameters that build the judged model again without validation rows."""
        params = {name: value for name, value in self.spec.params.items() if name != "early_stopping_rounds"}
        return params if self.best_iteration is None else {**params, "n_estimators": self.best_iteration}


class Tuner(Protocol):
    """Runs the trials of a search, somewhere."""

    def search(
        self, specs: Sequence[TrialSpec], train: pa.Table, valid: pa.Table, *, task: LearningTask, name: str
    ) -> list[TrialResult]:
        """Run every trial to its end.

        Args:
            specs: N trials.
            train: Rows to fit on.
            valid: Rows to judge by; none is older than the newest of ``train``.
            task: What is learned.
            name: Names the search; unique per run.

        Returns:
            N results, in the order of ``specs``. A trial that failed is a result with an ``error``.
        """
        ...


def run_trial(spec: TrialSpec, train: pa.Table, valid: pa.Table, *, task: LearningTask) -> TrialResult:
    """Fit and judge; deterministic but for ``seconds``.

    Whatever the estimator raises ends this trial and not the search: it is the ``error`` of the result.
    """
    started = time.perf_counter()
    try:
        estimator = estimators.build(spec.family, spec.params, seed=spec.seed, task=task)
        judged = (matrix(valid, task.inputs), target(valid, task))
        best = estimators.fit(estimator, matrix(train, task.inputs), target(train, task), valid=judged)
        scores = metrics(judged[1], estimators.predict(estimator, judged[0], task.kind), task)
    except Exception as error:
        # an estimator may raise anything; the selection raises where no trial is left, and names every error
        return TrialResult(spec=spec, seconds=time.perf_counter() - started, error=f"{type(error).__name__}: {error}")
    return TrialResult(spec=spec, metrics=scores, seconds=time.perf_counter() - started, best_iteration=best)


class InProcessTuner:
    """Runs the trials one after the other in this process."""

    def search(
        self, specs: Sequence[TrialSpec], train: pa.Table, valid: pa.Table, *, task: LearningTask, name: str
    ) -> list[TrialResult]:
        del name
        return [run_trial(spec, train, valid, task=task) for spec in specs]
