"""A tuner without a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from raymlops.experiments.searching.halving import Halving
from raymlops.experiments.trial_run import run_trial

if TYPE_CHECKING:
    from raymlops.experiments.searching.halving import HalvingRule
    from raymlops.experiments.searching.search import Search
    from raymlops.experiments.trial import TrialResult
    from raymlops.records.learning.tasks import LearningTask

__all__ = ["InProcessTuner"]


class InProcessTuner:
    """Runs the trials one after the other in this process."""

    def search(
        self,
        trials: Search,
        train: pa.Table,
        valid: pa.Table,
        *,
        task: LearningTask,
        name: str,
        concurrency: int | None = None,
        halving: HalvingRule | None = None,
    ) -> list[TrialResult]:
        del name, concurrency
        race, results = None if halving is None else Halving(halving), []
        while (spec := trials.ask()) is not None:
            report = None if race is None else race.reporter(spec.number)
            result = run_trial(spec, train, valid, task=task, report=report)
            trials.tell(result)
            results.append(result)
        return sorted(results, key=lambda result: result.spec.number)
