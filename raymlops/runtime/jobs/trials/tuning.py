"""Searches: in the job's own process, and by Ray Tune where that pays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from raymlops import runtime
from raymlops.experiments.searching.halving import Halving, HalvingRule
from raymlops.experiments.searching.search import LoggedSearch, Search
from raymlops.experiments.trial import TrialResult
from raymlops.experiments.trial_run import run_trial
from raymlops.records.learning.tasks import LearningTask
from raymlops.runtime.cluster.free_cpus import await_free_cpus

__all__ = ["RayTuner"]


class RayTuner:
    """Runs the trials of a search as Tune trials, one CPU each, as many at once as CPUs are free.

    A trial's process has to start and to import what fits models; a search that is over sooner than that is run here,
    where both are done. So trials start in this process, one at a time, and what is left goes to Tune as soon as
    that pays: by the time the trials took, or because one takes longer than a start. With one trial at a time,
    all of them are run here.

    Args:
        storage: Directory for Tune's own state; unique per run.
        free_cpus_timeout_s: How long to wait for the first free CPU.
        cpus_per_trial: Logical CPUs of one trial.
        start_s: Seconds until Tune's first trial is under way. With 0, all but the first trial go to Tune.
    """

    def __init__(
        self,
        storage: Path,
        *,
        free_cpus_timeout_s: float = 60.0,
        cpus_per_trial: float = 1.0,
        start_s: float = 4.0,
    ) -> None:
        self._storage = storage
        self._timeout_s = free_cpus_timeout_s
        self._cpus = cpus_per_trial
        self._start_s = start_s

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
        free = await_free_cpus(self._cpus, self._timeout_s)
        at_once = max(1, int(free / self._cpus)) if concurrency is None else concurrency
        race = None if halving is None else Halving(halving)
        trials = LoggedSearch(trials, task.metric)
        results: list[TrialResult] = []
        slow, over = None, False
        while slow is None and not self._pays(results, trials.left, at_once):
            spec = trials.ask()
            if spec is None:  # there are none left, or their time is up
                over = True
                break
            report = None if race is None else race.reporter(spec.number)
            under_way = _begin(partial(run_trial, spec, train, valid, task=task, report=report))
            if wait([under_way], None if at_once == 1 else self._start_s).not_done:
                slow = under_way
            else:
                results.append(under_way.result())
                trials.tell(results[-1])
        if not over and trials.left:
            data = {"train": train, "valid": valid, "task": task, "rule": halving}
            trials.run_by(f"by Ray Tune, {at_once} at a time")
            where: dict[str, Any] = {"name": name, "storage": self._storage, "cpus": self._cpus}
            results += runtime.run_by_tune(trials, data, at_once=at_once, race=race, **where)
        if slow is not None:
            results.append(slow.result())
            trials.run_by()
            trials.tell(results[-1])
        return sorted(results, key=lambda result: result.spec.number)

    def _pays(self, results: Sequence[TrialResult], left: int, at_once: int) -> bool:
        """Whether what running side by side saves is more than what the start of the processes costs."""
        if not results:
            return False
        mean_s = sum(result.seconds for result in results) / len(results)
        return mean_s * left * (1.0 - 1.0 / at_once) > self._start_s


def _begin(trial: Callable[[], TrialResult]) -> Future[TrialResult]:
    """Run a trial in a thread that keeps neither an interrupt nor the end of the process waiting."""
    under_way: Future[TrialResult] = Future()

    def run() -> None:
        try:
            under_way.set_result(trial())
        except BaseException as error:
            under_way.set_exception(error)

    threading.Thread(target=run, name="trial", daemon=True).start()
    return under_way
